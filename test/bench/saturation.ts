/** Raises the rate of an open loop until a system no longer keeps up. */
import { median } from './measure.ts';
import { type OpenLoop, type OpenResult, runOpenLoop } from './open-loop.ts';

/** One rate, with its result. */
export interface RateStep {
  readonly perSecond: number;
  readonly result: OpenResult;
}

/** The steps up to saturation, and the highest rate at which operations ended. */
export interface SaturationSteps {
  readonly steps: readonly RateStep[];
  readonly perSecond: number;
}

const factor = 1.35;
const stepsMaximum = 24;
/** A system is saturated if fewer of the operations end in time, or if they take longer than this against the first. */
const achievedLeast = 0.9;
const slowerMost = 6;

/** Begins at a rate that the system bears for sure, and stops at the first that it does not. `settled` waits for queues to empty. */
export async function findSaturation<Operation>(
  loop: OpenLoop<Operation>,
  settled: () => Promise<void>,
  say: (line: string) => void,
): Promise<SaturationSteps> {
  const steps: RateStep[] = [];
  let { perSecond } = loop;
  for (let step = 0; step < stepsMaximum; step += 1) {
    let result = await runOpenLoop({ ...loop, perSecond });
    const first = steps[0]?.result ?? result;
    let isOver = isSaturated(result, first);
    if (isOver) {
      // A stall of the machine is no saturation: it counts if it comes again.
      await settled();
      result = await runOpenLoop({ ...loop, perSecond });
      isOver = isSaturated(result, first);
    }
    steps.push({ perSecond, result });
    say(`  ${Math.round(perSecond)}/s: ${Math.round(result.achieved)}/s achieved`);
    if (isOver) break;
    perSecond *= factor;
  }
  return { steps, perSecond: Math.max(...steps.map(({ result }) => result.achieved)) };
}

function isSaturated(result: OpenResult, first: OpenResult): boolean {
  if (result.failed > 0) return true;
  if (result.achieved < result.offered * achievedLeast) return true;
  const all = ({ readsMs, writesMs }: OpenResult) => median([...readsMs, ...writesMs]);
  // Against a few ms, any stall of the machine would count as saturation.
  return all(result) > Math.max(50, all(first) * slowerMost);
}
