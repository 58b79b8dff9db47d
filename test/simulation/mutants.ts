import { allKeysMutants } from './mutants-all-keys.ts';
import { coordinatorMutants } from './mutants-coordinator.ts';
import { copyMutants } from './mutants-copies.ts';
import { memberMutants } from './mutants-members.ts';
import { regionMutants } from './mutants-region.ts';
import { scriptMutants } from './mutants-scripts.ts';
import { shellMutants } from './mutants-shell.ts';
import { storageMutants } from './mutants-storage.ts';
import { userScriptMutants } from './mutants-user-scripts.ts';
import type { Patch } from './mutation.ts';
import type { RunnerName } from './runners.ts';

/**
 * A rule of PROTOCOL.md that is switched off, by a patch of one place or of several, and the seeded runs that notice.
 * Where a second rule holds what the first one lets through, both are off, and a comment says so.
 */
export interface Mutant {
  readonly rule: `R${number}`;
  /** Says what the mutant does instead, in words with hyphens. */
  readonly name: string;
  readonly patches: readonly Patch[];
  readonly runner: RunnerName;
  /** At least one of these seeds has to fail; `npm run mutants` finds a range with several of them. */
  readonly seeds: readonly [first: number, last: number];
}

/** All mutants, in the order of their rules. */
export const mutants: readonly Mutant[] = [
  ...coordinatorMutants,
  ...regionMutants,
  ...scriptMutants,
  ...shellMutants,
  ...memberMutants,
  ...copyMutants,
  ...allKeysMutants,
  ...userScriptMutants,
  ...storageMutants,
].toSorted((a, b) => Number(a.rule.slice(1)) - Number(b.rule.slice(1)));

/** The table of PROTOCOL.md, as it has to stand there. */
export function tableOfMutants(): string {
  const rows = mutants.map(({ rule, name, patches, runner, seeds: [first, last] }) => [
    `\`${name}\``,
    rule,
    [...new Set(patches.map(({ file }) => `\`${file}\``))].join(', '),
    `${runner}, seeds ${first} to ${last}`,
  ]);
  const all = [['mutant', 'switches off', 'in', 'killed by'], ...rows];
  const widths = [0, 1, 2, 3].map((column) =>
    Math.max(...all.map((row) => (row[column] ?? '').length)),
  );
  const lineOf = (row: readonly string[]) =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`;
  const [head = [], ...body] = all;
  return [lineOf(head), rule, ...body.map(lineOf)].join('\n');
}
