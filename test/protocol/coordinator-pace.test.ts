/**
 * The pace of rounds (R20), in virtual time: writes come at random moments, and only the round trips take time. The
 * figures are the same on every machine.
 */
import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { SentRound } from '../../shared/protocol/io/ready.ts';
import { Random } from '../simulation/random.ts';
import { CoreHarness, frameOf } from './core-harness.ts';

/** The round trips of regions, ms, by their names. */
type RoundTrips = Readonly<Record<string, number>>;

const threeRegions: RoundTrips = { near: 1, middle: 71, far: 153 };
const fiveRegions: RoundTrips = { near: 1, second: 71, third: 113, fourth: 153, far: 199 };
/** The coordinator learns the round trips in this time, ms. */
const warmUpMs = 3_000;
const measuredMs = 4_000;

/** The latencies of the writes, in round trips of the farthest region, in order; and the rounds, per write. */
interface Pace {
  readonly latencies: readonly number[];
  readonly roundsPerWrite: number;
}

/** Writes to distinct keys, `perSecond` of them, with the connections that the platform allows. */
function paceOf(roundTrips: RoundTrips, perSecond: number): Pace {
  const harness = CoreHarness.calm({
    connections: limits.connections,
    regions: Object.keys(roundTrips),
  });
  const random = new Random(7);
  const farthestMs = Math.max(...Object.values(roundTrips));
  const from = harness.now;
  const until = from + warmUpMs + measuredMs;
  const arrivesAt = new Map<SentRound, number>();
  const waiting = new Map<number, number>();
  const latencies: number[] = [];
  let [nextWriteAt, writes] = [from, 0];
  const note = () => {
    for (const send of harness.flights) {
      if (!arrivesAt.has(send)) arrivesAt.set(send, harness.now + (roundTrips[send.region] ?? 0));
    }
    for (const [ticket, sentAt] of waiting) {
      if (harness.answerTo(ticket) === undefined) continue;
      waiting.delete(ticket);
      if (sentAt >= from + warmUpMs) latencies.push((harness.now - sentAt) / farthestMs);
    }
  };
  while (harness.now < until) {
    const [first] = [...harness.flights].sort((a, b) => at(a) - at(b));
    const wakeAt = harness.last.wakeAt ?? until;
    harness.now = Math.min(nextWriteAt, wakeAt, first === undefined ? until : at(first), until);
    if (first !== undefined && at(first) <= harness.now) harness.execute(first);
    else if (nextWriteAt <= harness.now) {
      writes += 1;
      const frame = frameOf([`key:${writes}`], { notAfter: until + 60_000 });
      waiting.set(harness.arrive(frame), harness.now);
      // The gaps of a Poisson process.
      nextWriteAt += Math.round(
        (-Math.log(1 - random.between(0, 9_999) / 10_000) * 1_000) / perSecond,
      );
    } else harness.tick();
    note();
  }
  return { latencies: latencies.sort((a, b) => a - b), roundsPerWrite: arrivesAt.size / writes };

  function at(send: SentRound): number {
    return arrivesAt.get(send) ?? harness.now;
  }
}

function percentile({ latencies }: Pace, percent: number): number {
  return latencies[Math.floor((latencies.length * percent) / 100)] ?? Number.NaN;
}

describe('the rounds under load', () => {
  it.each([
    ['three regions, 20 writes per second', threeRegions, 20, 1.15, 1.4],
    ['three regions, 100 writes per second', threeRegions, 100, 1.15, 1.35],
    ['three regions, 500 writes per second', threeRegions, 500, 1.15, 1.35],
    ['five regions, 500 writes per second', fiveRegions, 500, 1.25, 1.5],
  ])(
    'let a write wait for a small part of a round trip: %s',
    (_name, roundTrips, perSecond, p50, p99) => {
      const pace = paceOf(roundTrips, perSecond);
      expect(pace.latencies.length).toBeGreaterThan(50);
      expect(percentile(pace, 50)).toBeLessThan(p50);
      expect(percentile(pace, 99)).toBeLessThan(p99);
    },
  );

  it('are few: all regions together get one for every five writes', () => {
    expect(paceOf(threeRegions, 500).roundsPerWrite).toBeLessThan(0.2);
    expect(paceOf(fiveRegions, 500).roundsPerWrite).toBeLessThan(0.2);
  });
});
