import { limits } from '../../shared/limits.ts';
import type { CoordinatorEvent } from '../../shared/protocol/io/events.ts';
import { ampleRoom } from '../../shared/protocol/io/room.ts';
import { CheckedCore } from '../protocol/checked-core.ts';
import { frameOf } from '../protocol/core-harness.ts';
import { RegionModel } from '../region/model.ts';
import { Random } from './random.ts';
import { configOf, nothingStored } from './single-instance.ts';
import { Timeline } from './timeline.ts';

/**
 * One seeded run of a coordinator with one connection more than regions, and one client that writes again as soon as it
 * is answered, or a little later. Each write is answered one round trip to the farthest region after it came, and never
 * are there more rounds on their way than connections.
 */
export function run(seed: number): { readonly writes: number } {
  const random = new Random(seed);
  const timeline = new Timeline();
  const count = random.between(2, 5);
  const names = Array.from({ length: count }, (_, index) => `region-${index}`);
  const farthestMs = 2 * random.between(60, 120);
  // Commits ride with the prepares of a write that comes within the time that they wait; else they take connections,
  // and only much nearer regions give those back in time.
  const isBusy = random.chance(0.5);
  const nearMs = () => 2 * random.between(1, isBusy ? farthestMs / 2 : 15);
  const distances = new Map(
    names.map((name, index) => [name, index === 0 ? farthestMs : nearMs()]),
  );
  const models = new Map(names.map((name) => [name, new RegionModel(() => timeline.now)]));
  const connections = count + 1;
  const core = new CheckedCore(configOf(names, connections), nothingStored, timeline.now);
  const begunAt = new Map<number, number>();
  let wakes = 0;
  let inFlight = 0;
  let entropy = 0;
  let writes = 0;

  const step = (event: CoordinatorEvent): void => {
    entropy += 1;
    const ready = core.step(event, timeline.now, `e${entropy}-`);
    for (const send of ready.sends) {
      if (send.kind !== 'round') continue;
      const { region, round, number } = send;
      inFlight += 1;
      if (inFlight > connections)
        throw new Error(`${inFlight} rounds for ${connections} connections`);
      const oneWayMs = (distances.get(region) ?? 0) / 2;
      timeline.after(oneWayMs, () => {
        const result = models.get(region)?.round(round);
        if (result === undefined) throw new Error(`no region ${region}`);
        timeline.after(oneWayMs, () => {
          inFlight -= 1;
          step({ kind: 'round-completed', region, round: number, result, recorded: [] });
        });
      });
    }
    for (const { ticket } of ready.replies) answered(ticket);
    wakes += 1;
    const wake = wakes;
    if (ready.wakeAt === null) return;
    timeline.after(ready.wakeAt - timeline.now, () => {
      if (wake === wakes) step({ kind: 'tick' });
    });
  };
  const answered = (ticket: number): void => {
    const tookMs = timeline.now - (begunAt.get(ticket) ?? 0);
    if (tookMs !== farthestMs) throw new Error(`a write took ${tookMs} ms, not ${farthestMs}`);
    timeline.after(random.between(0, isBusy ? limits.commitLingerMs - 1 : 60), () =>
      write(ticket + 1),
    );
  };
  const write = (ticket: number): void => {
    if (ticket > 20) return;
    writes += 1;
    begunAt.set(ticket, timeline.now);
    const frame = frameOf([`k${ticket % 7}`], { notAfter: timeline.now + 10_000 });
    step({
      kind: 'write-received',
      ticket,
      frame,
      async: false,
      recorded: null,
      again: false,
      abandoned: null,
      room: ampleRoom,
    });
  };

  step({ kind: 'tick' });
  timeline.run(timeline.now + 5_000, 100_000);
  write(1);
  timeline.run(timeline.now + 60_000, 100_000);
  if (writes < 20) throw new Error(`only ${writes} writes were answered`);
  return { writes };
}
