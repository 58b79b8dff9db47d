import { readFileSync } from 'node:fs';

/** The fenced blocks of a page, in order: examples to run, and the output that the page shows for them. */

/** One fenced block. */
export interface Block {
  readonly page: string;
  readonly line: number;
  /** `sh`, `js` or `ts`; empty for output. */
  readonly language: string;
  readonly text: string;
  /** The paragraph before the block. */
  readonly lead: string;
  /**
   * The reason why the test does not run the block, or does not expect it as output: `<!-- no-run: … -->` before the
   * block.
   */
  readonly notRun: string | null;
}

/** An example, and the output blocks that follow it. */
export interface Example extends Block {
  readonly shown: readonly string[];
}

const fence = /^( *)```(\w*) *$/;
const mark = /<!-- no-run: (.+?) -->/;

/** The blocks of a page. */
export function blocksOf(page: string): readonly Block[] {
  const lines = readFileSync(page, 'utf8').split('\n');
  const blocks: Block[] = [];
  let begins = -1;
  lines.forEach((line, index) => {
    const [, , language] = fence.exec(line) ?? [];
    if (language === undefined) return;
    if (begins < 0) {
      begins = index;
      return;
    }
    const [, indent = '', tag = ''] = fence.exec(lines[begins] ?? '') ?? [];
    const lead = paragraphBefore(lines, begins);
    blocks.push({
      page,
      line: begins + 1,
      language: tag,
      text: lines
        .slice(begins + 1, index)
        .map((each) => each.slice(indent.length))
        .join('\n'),
      lead,
      notRun: mark.exec(lead)?.[1] ?? null,
    });
    begins = -1;
  });
  if (begins >= 0) throw new Error(`${page}:${begins + 1}: the block has no end`);
  return blocks;
}

/** A comment and the paragraph before it count as one. */
function paragraphBefore(lines: readonly string[], index: number): string {
  const before = lines
    .slice(0, index)
    .join('\n')
    .trimEnd()
    .split(/\n\s*\n/);
  const last = before.at(-1) ?? '';
  return mark.test(last) && last.trimStart().startsWith('<!--')
    ? `${before.at(-2) ?? ''}\n${last}`
    : last;
}

/** The examples among the blocks. Output before the first example belongs to none. */
export function examplesOf(blocks: readonly Block[]): readonly Example[] {
  return blocks.flatMap((block, index) => {
    if (block.language === '') return [];
    const rest = blocks.slice(index + 1);
    const end = rest.findIndex(({ language }) => language !== '');
    const outputs = rest.slice(0, end < 0 ? rest.length : end);
    const shown = outputs.filter(({ notRun }) => notRun === null).map(({ text }) => text);
    return [{ ...block, shown }];
  });
}
