/** The results of a part of the benchmark: tables, figures and pictures. */
import { drawTable, type Figure } from './measure.ts';

/** A table with a head. */
export interface ReportTable {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** A picture, as SVG. */
export interface ReportPicture {
  /** The name of the file, without an ending. */
  readonly name: string;
  /** A sentence for those who do not see it. */
  readonly alt: string;
  readonly svg: string;
}

/** The results of one part. */
export interface BenchReport {
  readonly title: string;
  /** The command that repeats it, with its options. */
  readonly command: string;
  /** The regions, round trips, clients and durations, in sentences. */
  readonly setting: string;
  readonly tables: readonly ReportTable[];
  readonly figures: readonly Figure[];
  readonly pictures: readonly ReportPicture[];
  readonly note: string | null;
}

/** A report that does not yet name its command. */
export type PartReport = Omit<BenchReport, 'command'>;

/** The report as lines of text. */
export function drawReport(report: BenchReport): readonly string[] {
  const tables = report.tables.flatMap(({ title, columns, rows }) => [
    '',
    title,
    ...alignedRows([columns, ...rows]),
  ]);
  const figures = report.figures.length === 0 ? [] : ['', ...drawTable(report.figures)];
  const note = report.note === null ? [] : ['', report.note];
  return [`${report.title} (${report.command})`, report.setting, ...tables, ...figures, ...note];
}

/** The first column to the left, the others to the right. */
function alignedRows(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  return rows.map((row) => {
    const cells = row.map((cell, column) => {
      const width = widths[column] ?? 0;
      return column === 0 ? cell.padEnd(width) : cell.padStart(width);
    });
    return `  ${cells.join('  ')}`;
  });
}

/** A number with three significant digits, with separators from a thousand on; – if there is none. */
export function shown(value: number): string {
  if (Number.isNaN(value)) return '–';
  if (value >= 100) return Math.round(value).toLocaleString('en-US');
  return String(Number(value.toPrecision(3)));
}
