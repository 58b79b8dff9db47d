/** Makes the page of limits: values from the code, meanings from the doc comments in the sources. */
import { readFileSync } from 'node:fs';
import { limits } from '../../shared/limits.ts';
import { generatedNotice, markdownTable } from './markdown.ts';

const introduction = `# Limits

${generatedNotice}

Every bound of Lockstep, from \`shared/limits.ts\` and the files that it imports. Sizes are in bytes of UTF-8 unless the
name says characters. Operators can change only the limits that [configuration](configuration.md) lists.
`;

const sources = [
  'shared/limits.ts',
  'shared/edge-limits.ts',
  'shared/webhook-limits.ts',
  'shared/storage-limits.ts',
] as const;

interface DescribedLimit {
  readonly name: string;
  readonly meaning: string;
}

interface Section {
  readonly title: string;
  readonly described: readonly DescribedLimit[];
}

/** The page of limits, not yet formatted. */
export function limitPage(): string {
  const values = new Map<string, number | readonly number[]>(Object.entries(limits));
  const sections = sources.flatMap((path) => sectionsOf(readFileSync(path, 'utf8')));
  const tables = sections.map(({ title, described }) => {
    const rows = described.map(({ name, meaning }) => {
      const value = values.get(name);
      if (value === undefined) throw new Error(`${name} is described and is no limit`);
      values.delete(name);
      return [`\`${name}\``, withUnit(name, value), meaning];
    });
    return `## ${title}\n\n${markdownTable(['limit', 'value', 'meaning'], rows)}`;
  });
  const [missing] = values.keys();
  if (missing !== undefined) throw new Error(`the limit ${missing} has no doc comment`);
  return [introduction, ...tables].join('\n');
}

/**
 * The described limits of a source. A limit without a comment shares that of the limit before it. `// Title` begins a
 * section.
 */
function sectionsOf(source: string): readonly Section[] {
  const part = /^ {2}(?:\/\/ (?<title>.+)|\/\*\*(?<comment>[\s\S]*?)\*\/|(?<name>\w+):)/gm;
  const sections: { title: string; described: DescribedLimit[] }[] = [];
  let meaning = '';
  for (const { groups = {} } of source.matchAll(part)) {
    const { title, comment, name } = groups;
    if (title !== undefined) {
      sections.push({ title, described: [] });
      meaning = '';
    } else if (comment !== undefined) {
      meaning = comment.replaceAll(/\s*\n\s*\*?\s*/g, ' ').trim();
    } else if (name !== undefined && meaning !== '') {
      sections.at(-1)?.described.push({ name, meaning });
    }
  }
  return sections;
}

function withUnit(name: string, value: number | readonly number[]): string {
  if (typeof value !== 'number') return value.map((each) => withUnit(name, each)).join(', ');
  const stem = name.replace(/(?:Default|Minimum|Maximum)$/, '');
  // A time in ms since 1970, not a duration.
  if (name === 'expiryMsMaximum') return `${spelled(value)} ms`;
  if (/Ms(?:Least|Most)?$/.test(stem)) return duration(value);
  if (/Bytes(?:Kept|Remembered|Together|PerWrite|PerRegion|PerStep|InScript)?$/i.test(stem)) {
    return `${spelled(value)} bytes`;
  }
  if (stem.includes('Percent')) return `${value} %`;
  if (/Characters$/i.test(stem)) return `${spelled(value)} characters`;
  return spelled(value);
}

const units = [
  ['days', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
] as const;

/** A duration in the largest unit that divides it. */
export function duration(ms: number): string {
  if (ms === units[0][1]) return '24 h';
  const unit = units.find(([, length]) => ms > 0 && ms % length === 0);
  return unit === undefined ? `${spelled(ms)} ms` : `${spelled(ms / unit[1])} ${unit[0]}`;
}

function spelled(value: number): string {
  return value.toLocaleString('en-US');
}
