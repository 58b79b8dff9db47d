import type { Mutant } from './mutants.ts';
import { mutant } from './mutants-members.ts';

/** R45: the data over which a shard begins, and the order of its steps. */

const founding = 'shared/protocol/membership/founding.ts';

export const foundingMutants: readonly Mutant[] = [
  mutant(
    'R45',
    'replaces-keys-that-nobody-agreed-to-lose',
    'founding',
    [31, 300],
    [
      'test/region/region-head.ts',
      "(begin && role === 'voter')) && keys <= round.takes",
      "(begin && role === 'voter'))",
    ],
  ),
  mutant(
    'R45',
    'begins-with-a-region-that-was-not-compared',
    'founding',
    [150, 420],
    [
      founding,
      `    this.#comparison = null;
    const detail = 'the shard has not begun';`,
      `    const detail = 'the shard has not begun';`,
    ],
  ),
  mutant(
    'R45',
    'begins-before-all-have-counted',
    'founding',
    [1, 60],
    [
      founding,
      "if (missing.length > 0) return { kind: 'counting', missing };",
      "if (missing.length === links.length) return { kind: 'counting', missing };",
    ],
    // The assertion would stop a shard that the first patch lets begin.
    [founding, 'assert(link.contents !== null,', 'assert(true,'],
    [founding, 'link.takes = link.contents.keys;', 'link.takes = link.contents?.keys ?? 0;'],
  ),
  mutant(
    'R45',
    'begins-before-it-has-compared',
    'founding',
    [1, 60],
    [
      founding,
      '    const { ready, links } = this.#parts;\n    if (this.#comparison?.keys !== keys) {',
      `    const { ready, links } = this.#parts;
    if (this.#isOpen) return this.#begin('nobody has compared its regions');
    if (this.#comparison?.keys !== keys) {`,
    ],
  ),
  mutant(
    'R45',
    'copies-before-its-source-is-stored',
    'founding',
    [1, 60],
    // The next step that stores anything of a region also stores the part that this one omits.
    [
      founding,
      "    this.#members.trust(source, {\n      event: 'founded',",
      `    const { ready } = this.#parts;
    ready.persist = () => {};
    this.#members.trust(source, {
      event: 'founded',`,
    ],
    [
      founding,
      "    return { kind: 'taken', detail };",
      "    Reflect.deleteProperty(ready, 'persist');\n    return { kind: 'taken', detail };",
    ],
  ),
];
