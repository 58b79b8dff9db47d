/** Checks of a region's clock and round trip. */
import { limits } from '../../../shared/limits.ts';
import { bad, type CommandRunner, type DoctorCheck, doubtful, good, unreported } from './check.ts';

/** A region's clock, compared with the clock of this Worker. */
export interface ClockReading {
  /** The time by which it is ahead, in ms; negative if it is behind. */
  readonly aheadMs: number;
  /** The maximum error in either direction, in ms: half of the round trip. */
  readonly errorMs: number;
  readonly roundTripMs: number;
}

/**
 * Reads the time several times, and keeps the reading with the shortest round trip. Null if the region reports no time.
 */
export async function readClock(
  run: CommandRunner,
  now: () => number,
): Promise<ClockReading | null> {
  let best: ClockReading | null = null;
  for (let reading = 0; reading < limits.doctorClockReadings; reading += 1) {
    const sentAt = now();
    const result = await run('TIME');
    const roundTripMs = now() - sentAt;
    const time = result.kind === 'answered' ? millisecondsOf(result.reply) : null;
    if (time === null) continue;
    if (best !== null && best.roundTripMs <= roundTripMs) continue;
    const aheadMs = time - (sentAt + roundTripMs / 2);
    best = { aheadMs, errorMs: roundTripMs / 2, roundTripMs };
  }
  return best;
}

/** Checks that keys expire there at nearly the same moment as by the coordinator's clock. */
export function clockCheck(clock: ClockReading | null): DoctorCheck {
  if (clock === null) return unreported('clock', 'Make sure that a time service sets its clock.');
  const { aheadMs, errorMs } = clock;
  const where = aheadMs < 0 ? 'behind' : 'ahead';
  const found = `${Math.round(Math.abs(aheadMs))} ms ${where}, give or take ${Math.round(errorMs)} ms`;
  const least = Math.abs(aheadMs) - errorMs;
  if (least > limits.clockSkewMs) {
    const advice =
      'Set its clock by a time service: otherwise keys expire too early or too late in this region.';
    return bad('clock', found, advice);
  }
  if (least + 2 * errorMs <= limits.clockSkewMs) return good('clock', found);
  const advice = `It may be more than ${limits.clockSkewMs} ms off. Make sure that a time service sets its clock.`;
  return doubtful('clock', found, advice);
}

/** Checks that votes can arrive within the deadline. */
export function roundTripCheck(clock: ClockReading | null, voteDeadlineMs: number): DoctorCheck {
  if (clock === null) return unreported('round trip', 'Measure it by hand.');
  const found = `${Math.round(clock.roundTripMs)} ms from this Worker`;
  if (clock.roundTripMs * 2 < voteDeadlineMs) return good('round trip', found);
  const advice = `Votes are due after ${voteDeadlineMs} ms. Raise LOCKSTEP_VOTE_DEADLINE_MS, or use a nearer region.`;
  return doubtful('round trip', found, advice);
}

/** Parses the reply to TIME, seconds and microseconds, as ms. Null if it is malformed. */
function millisecondsOf(reply: unknown): number | null {
  if (!Array.isArray(reply) || reply.length !== 2) return null;
  const [seconds, microseconds] = reply.map(Number);
  const milliseconds = (seconds ?? Number.NaN) * 1_000 + (microseconds ?? Number.NaN) / 1_000;
  return Number.isFinite(milliseconds) ? milliseconds : null;
}
