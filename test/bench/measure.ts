/** The middle one of the samples: half are at or below it. NaN where there are none. */
export function median(samples: readonly number[]): number {
  return percentile(samples, 50);
}

/** So many percent of the samples are at or below it. NaN where there are none. */
export function percentile(samples: readonly number[], percent: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.ceil((sorted.length * percent) / 100) - 1] ?? Number.NaN;
}

/** How long `work` takes, in ms. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

/** A measured figure. One without a limit is there to compare with. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  /** What it counts; a ratio counts nothing. */
  readonly unit: 'ms' | 'ratio' | 'count' | 'writes' | 'writes/s' | 'MB' | 'kB';
  /** The most that it may be, or null. */
  readonly limit: number | null;
}

/** True where the figure is within its limit. A figure that could not be measured is not. */
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
