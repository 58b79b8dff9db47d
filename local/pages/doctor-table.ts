import type { Colour, Paint } from '../playground/timeline.ts';
import { printable } from './printable.ts';

/** One check as `GET /v1/admin/doctor` tells it. */
export interface ToldCheck {
  readonly name: string;
  readonly status: 'ok' | 'warning' | 'problem' | 'unknown';
  readonly found: string;
  readonly advice: string | null;
}

/** The answer of `GET /v1/admin/doctor`. */
export interface ToldDiagnosis {
  readonly verdict: 'ok' | 'warning' | 'problem';
  readonly deployment: readonly ToldCheck[];
  readonly regions: readonly {
    readonly id: string;
    readonly host: string;
    readonly checks: readonly ToldCheck[];
  }[];
}

const looks: Record<ToldCheck['status'], readonly [sign: string, colour: Colour]> = {
  ok: ['ok', 'green'],
  warning: ['warning', 'yellow'],
  problem: ['PROBLEM', 'red'],
  unknown: ['unknown', 'yellow'],
};

const statusColumns = 9;
const nameColumnsMinimum = 12;
/** A narrower text could not be read. */
const textColumnsMinimum = 24;
/** A wider one would be read no better. */
const textColumnsMaximum = 88;

/** The diagnosis as lines of text, for a terminal of so many columns. What to do stands below what was found. */
export function drawDiagnosis(
  { deployment, regions }: ToldDiagnosis,
  columns: number,
  paint: Paint,
): readonly string[] {
  const all = [...deployment, ...regions.flatMap(({ checks }) => checks)];
  const nameColumns = 2 + Math.max(nameColumnsMinimum, ...all.map(({ name }) => name.length));
  const rows = (checks: readonly ToldCheck[]) =>
    checks.flatMap((check) => drawCheck(check, { nameColumns, columns }, paint));
  return [
    paint('bold', 'Deployment'),
    ...rows(deployment),
    ...regions.flatMap(({ id, host, checks }) => [
      '',
      `${paint('bold', printable(id))} ${paint('dim', printable(host))}`,
      ...rows(checks),
    ]),
    '',
    drawSum(all, paint),
  ];
}

function drawCheck(
  { name, status, found, advice }: ToldCheck,
  { nameColumns, columns }: { readonly nameColumns: number; readonly columns: number },
  paint: Paint,
): readonly string[] {
  const [sign, colour] = looks[status];
  const indentColumns = 2 + nameColumns + statusColumns;
  const textColumns = Math.min(
    Math.max(columns - indentColumns, textColumnsMinimum),
    textColumnsMaximum,
  );
  const head = `  ${name.padEnd(nameColumns)}${paint(colour, sign.padEnd(statusColumns))}`;
  const rest = ' '.repeat(indentColumns);
  const advised = advice === null ? [] : wrap(`→ ${advice}`, textColumns);
  return [...wrap(found, textColumns), ...advised].map((line, index) =>
    index === 0 ? `${head}${line}` : `${rest}${line}`,
  );
}

function drawSum(checks: readonly ToldCheck[], paint: Paint): string {
  const count = (status: ToldCheck['status']) =>
    checks.filter((check) => check.status === status).length;
  const counts = [
    [count('problem'), 'problem', 'problems'],
    [count('warning'), 'warning', 'warnings'],
    [count('unknown'), 'thing to look at by hand', 'things to look at by hand'],
  ] as const;
  const told = counts.flatMap(([many, one, more]) =>
    many === 0 ? [] : `${many} ${many === 1 ? one : more}`,
  );
  if (told.length === 0)
    return paint('green', `Nothing to do: all ${checks.length} checks are well.`);
  return paint(count('problem') > 0 ? 'red' : 'yellow', `${told.join(', ')}.`);
}

/** Breaks at spaces; a word that is too long for a line is cut. */
function wrap(text: string, columns: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text
    .split(/\s+/)
    .map(printable)
    .flatMap((one) => cut(one, columns))) {
    if (line !== '' && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = '';
    }
    line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

function cut(word: string, columns: number): readonly string[] {
  if (word.length <= columns) return [word];
  return [word.slice(0, columns), ...cut(word.slice(columns), columns)];
}
