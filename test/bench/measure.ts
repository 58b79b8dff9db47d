/** The median of the samples: half are at or below it. NaN if there are none. */
export function median(samples: readonly number[]): number {
  return percentile(samples, 50);
}

/** This percentage of the samples is at or below it. NaN if there are none. */
export function percentile(samples: readonly number[], percent: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.ceil((sorted.length * percent) / 100) - 1] ?? Number.NaN;
}

/** The duration of `work`, in ms. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

/** A measured figure. One without a limit is for comparison. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  /** The unit of the value; a ratio has none. */
  readonly unit: 'ms' | 'µs' | 'ratio' | 'count' | 'writes' | 'writes/s' | 'MB' | 'kB' | 'bytes';
  /** The maximum that passes, or null. */
  readonly limit: number | null;
  /** The minimum that passes, if there is one. */
  readonly least?: number;
  /** The least and the greatest value of single runs, if the value is the median of several. */
  readonly spread?: readonly [least: number, greatest: number];
}

/** True if the figure is within its limits. A figure that could not be measured is not. */
export function isWithin({ value, limit, least }: Figure): boolean {
  if (least !== undefined && !(value >= least)) return false;
  return limit === null || value <= limit;
}

/** True if single runs came to both verdicts, so that the spread is greater than the margin. */
export function isClose(figure: Figure): boolean {
  if (figure.spread === undefined) return false;
  const verdicts = figure.spread.map((value) => isWithin({ ...figure, value }));
  return verdicts.includes(true) && verdicts.includes(false);
}

/** The bound of a figure in words, or an empty text. */
export function boundOf({ limit, least, unit }: Figure): string {
  const most = limit === null ? [] : [`at most ${format(limit, unit)}`];
  const fewest = least === undefined ? [] : [`at least ${format(least, unit)}`];
  return [...fewest, ...most].join(', ');
}

/** The least and the greatest of single runs, or an empty text. */
export function spreadOf({ spread, unit }: Figure): string {
  return spread === undefined ? '' : spread.map((value) => format(value, unit)).join('–');
}

/** The figures as lines of a table. */
export function drawTable(figures: readonly Figure[]): readonly string[] {
  const width = Math.max(...figures.map(({ name }) => name.length));
  return figures.map((figure) => {
    const { name, unit } = figure;
    const shown = unit === 'ratio' ? ' ' : unit;
    const value = `${format(figure.value, unit).padStart(9)} ${shown.padEnd(9)}`;
    const bound = boundOf(figure);
    const verdict = bound === '' ? '' : isWithin(figure) ? 'PASS' : 'FAIL';
    const spread = spreadOf(figure);
    const runs =
      spread === '' ? '' : ` (runs ${spread}${isClose(figure) ? ', on both sides' : ''})`;
    return `  ${name.padEnd(width)} ${value} ${bound.padEnd(16)} ${verdict}${runs}`.trimEnd();
  });
}

/** A value without its unit. */
export function format(value: number, unit: Figure['unit']): string {
  if (unit === 'ratio') return value.toFixed(3);
  return value.toFixed(unit === 'count' ? 3 : 1).replace(/\.0+$/, '');
}
