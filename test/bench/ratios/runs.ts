/** Figures that are medians of several runs. */
import { type Figure, median } from '../measure.ts';

/** The bounds of a figure: the most and the least that passes. */
export interface Bounds {
  readonly most?: number;
  readonly least?: number;
}

/** A figure with the median of the runs, and the spread of the single runs. */
export function figureOfRuns(
  name: string,
  unit: Figure['unit'],
  runs: readonly number[],
  { most, least }: Bounds = {},
): Figure {
  return {
    ...{ name, unit },
    value: median(runs),
    limit: most ?? null,
    ...(least === undefined ? {} : { least }),
    spread: [Math.min(...runs), Math.max(...runs)],
  };
}
