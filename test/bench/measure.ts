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
  readonly unit: 'ms' | 'ratio' | 'count' | 'writes' | 'writes/s' | 'MB' | 'kB';
  /** The maximum that passes, or null. */
  readonly limit: number | null;
}

/** True if the figure is within its limit. A figure that could not be measured is not. */
export function isWithin({ value, limit }: Figure): boolean {
  return limit === null || value <= limit;
}

/** The figures as lines of a table. */
export function drawTable(figures: readonly Figure[]): readonly string[] {
  const width = Math.max(...figures.map(({ name }) => name.length));
  return figures.map((figure) => {
    const { name, unit, limit } = figure;
    const shown = unit === 'ratio' ? ' ' : unit;
    const value = `${format(figure.value, unit).padStart(9)} ${shown.padEnd(9)}`;
    const most = limit === null ? '' : `at most ${format(limit, unit)}`;
    const verdict = limit === null ? '' : isWithin(figure) ? 'PASS' : 'FAIL';
    return `  ${name.padEnd(width)} ${value} ${most.padEnd(16)} ${verdict}`.trimEnd();
  });
}

function format(value: number, unit: Figure['unit']): string {
  if (unit === 'ratio') return value.toFixed(3);
  return value.toFixed(unit === 'count' ? 3 : 1).replace(/\.0+$/, '');
}
