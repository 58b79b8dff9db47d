import { frameOf } from '../protocol/core-harness.ts';
import { Random } from './random.ts';
import { SingleInstance, start } from './single-instance.ts';

/**
 * One seeded run of one coordinator: frames of low priority begin, then an urgent one wants the same key, and the clock
 * jumps back now and then. The urgent one is decided first and the others in the order in which they came; and no
 * transaction works with a clock reading before the last one stored.
 */
export function run(seed: number): { readonly writes: number } {
  const random = new Random(seed);
  const regions = ['near', 'middle', 'far'].slice(0, random.between(1, 3));
  const storedNow = start + random.between(-5_000, 2_000);
  const instance = new SingleInstance(regions, { now: storedNow });
  instance.tick();
  instance.advance(10);
  instance.settle();
  const lesser = Array.from({ length: random.between(1, 3) }, () => frameOf(['k']));
  const urgent = frameOf(['k', 'other'], { priority: random.between(1, 9) });
  for (const frame of lesser) {
    instance.arrive(frame);
    if (random.chance(0.3)) instance.now -= random.between(1, 500);
  }
  // Whoever comes before the last vote comes before the decision.
  instance.executeAll(regions.slice(0, random.between(0, regions.length - 1)));
  instance.arrive(urgent);
  instance.settle();
  const { persisted } = instance;
  const committed = persisted.flatMap((write) => (write.kind === 'commit' ? write.writes : []));
  const came = [urgent, ...lesser].map(({ id }) => id).join(' ');
  const decided = committed.map(({ record }) => record.id).join(' ');
  if (decided !== came) throw new Error(`the order was ${decided}, not ${came}`);
  checkClocks(instance, storedNow);
  const before = instance.core.clockAt(instance.now);
  instance.now += 2_000;
  if (instance.core.clockAt(instance.now) < before + 900) throw new Error('the clock stands still');
  return { writes: committed.length };
}

function checkClocks(instance: SingleInstance, storedNow: number): void {
  let latest = storedNow;
  for (const { persist, sends } of instance.steps) {
    for (const send of sends) {
      for (const { now } of send.kind === 'round' ? send.round.prepares : []) {
        if (now < latest) throw new Error(`a prepare works with ${now} after ${latest} was stored`);
      }
    }
    for (const write of persist) if (write.kind === 'commit') latest = Math.max(latest, write.now);
  }
}
