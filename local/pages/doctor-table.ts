/** Draws the result of the doctor as a table for a terminal. */
import { counted } from '../../shared/counted.ts';
import type { Colour, Paint } from '../playground/timeline.ts';
import { printable } from './printable.ts';

/** A check in the response of `GET /v1/admin/doctor`. */
export interface CheckResponse {
  readonly name: string;
  readonly status: 'ok' | 'warning' | 'problem' | 'unknown';
  readonly found: string;
  readonly advice: string | null;
}

/** The response of `GET /v1/admin/doctor`. */
export interface DiagnosisResponse {
  readonly verdict: 'ok' | 'warning' | 'problem';
  readonly deployment: readonly CheckResponse[];
  readonly regions: readonly {
    readonly id: string;
    readonly host: string;
    readonly checks: readonly CheckResponse[];
  }[];
}

const looks: Record<CheckResponse['status'], readonly [sign: string, colour: Colour]> = {
  ok: ['ok', 'green'],
  warning: ['warning', 'yellow'],
  problem: ['PROBLEM', 'red'],
  unknown: ['unknown', 'yellow'],
};

const statusColumns = 9;
const nameColumnsMinimum = 12;
/** Narrower texts would be unreadable. */
const textColumnsMinimum = 24;
/** Wider texts would be hard to read. */
const textColumnsMaximum = 88;

/** The diagnosis as lines for a terminal of `columns` columns. Advice follows the finding, on lines of its own. */
export function drawDiagnosis(
  { deployment, regions }: DiagnosisResponse,
  columns: number,
  paint: Paint,
): readonly string[] {
  const all = [...deployment, ...regions.flatMap(({ checks }) => checks)];
  const nameColumns = 2 + Math.max(nameColumnsMinimum, ...all.map(({ name }) => name.length));
  const rows = (checks: readonly CheckResponse[]) =>
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
  { name, status, found, advice }: CheckResponse,
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

function drawSum(checks: readonly CheckResponse[], paint: Paint): string {
  const count = (status: CheckResponse['status']) =>
    checks.filter((check) => check.status === status).length;
  const counts = [
    [count('problem'), 'problem', 'problems'],
    [count('warning'), 'warning', 'warnings'],
    [count('unknown'), 'check to make by hand', 'checks to make by hand'],
  ] as const;
  const parts = counts.flatMap(([many, one, more]) =>
    many === 0 ? [] : `${many} ${many === 1 ? one : more}`,
  );
  if (parts.length === 0)
    return paint('green', `Nothing to do: ${counted(checks.length, 'check')} passed.`);
  return paint(count('problem') > 0 ? 'red' : 'yellow', `${parts.join(', ')}.`);
}

/** Breaks at spaces, and within words that are longer than a line. */
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
