import { frameOf } from '../protocol/core-harness.ts';
import { Random } from './random.ts';
import { Lone, start } from './single-instance.ts';

/**
 * One seeded run of one coordinator: frames of low priority begin, then an urgent one wants the same key, and the clock
 * jumps back now and then. The urgent one is decided first and the others in the order in which they came; and no
 * transaction works with a clock reading before the last one stored.
 */
export function run(seed: number): { readonly writes: number } {
  const random = new Random(seed);
  const regions = ['near', 'middle', 'far'].slice(0, random.between(1, 3));
  const storedNow = start + random.between(-5_000, 2_000);
  const lone = new Lone(regions, { now: storedNow });
  lone.tick();
  lone.advance(10);
  lone.settle();
  const lesser = Array.from({ length: random.between(1, 3) }, () => frameOf(['k']));
  const urgent = frameOf(['k', 'other'], { priority: random.between(1, 9) });
  for (const frame of lesser) {
    lone.arrive(frame);
    if (random.chance(0.3)) lone.now -= random.between(1, 500);
  }
  // Whoever comes before the last vote comes before the decision.
  lone.executeAll(regions.slice(0, random.between(0, regions.length - 1)));
  lone.arrive(urgent);
  lone.settle();
  const { persisted } = lone;
  const committed = persisted.flatMap((write) => (write.kind === 'commit' ? write.writes : []));
  const came = [urgent, ...lesser].map(({ id }) => id).join(' ');
  const decided = committed.map(({ record }) => record.id).join(' ');
  if (decided !== came) throw new Error(`the order was ${decided}, not ${came}`);
  checkClocks(lone, storedNow);
  const before = lone.core.clockAt(lone.now);
  lone.now += 2_000;
  if (lone.core.clockAt(lone.now) < before + 900) throw new Error('the clock stands still');
  return { writes: committed.length };
}

function checkClocks(lone: Lone, storedNow: number): void {
  let latest = storedNow;
  for (const { persist, sends } of lone.steps) {
    for (const send of sends) {
      for (const { now } of send.kind === 'round' ? send.round.prepares : []) {
        if (now < latest) throw new Error(`a prepare works with ${now} after ${latest} was stored`);
      }
    }
    for (const write of persist) if (write.kind === 'commit') latest = Math.max(latest, write.now);
  }
}
