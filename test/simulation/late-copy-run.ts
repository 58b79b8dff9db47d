import type { RoundPair } from '../../shared/contracts/round.ts';
import { frameOf } from '../protocol/core-harness.ts';
import { Random } from './random.ts';
import { SingleInstance } from './single-instance.ts';

/**
 * A scene that chance hardly ever shows: a region votes yes to a write, which is answered as committed; then it goes
 * back in time, and a late copy of the same round is refused, as the region has no memory just then. The pair that the
 * coordinator knows must not be the one that the copy has left, or a strong read there misses the write.
 */
export function run(seed: number): { readonly writes: number } {
  const random = new Random(seed);
  const instance = new SingleInstance(['near', 'far']);
  const far = instance.models.get('far');
  if (far === undefined) throw new Error('there is a far region');
  instance.tick();
  instance.settle();
  const before = random.between(1, 4);
  for (let count = 0; count < before; count++) {
    instance.arrive(frameOf([random.pick(['a', 'b'])]));
    instance.settle();
  }
  const backup = far.state();
  const keys = random.pick([['a'], ['b'], ['a', 'b']]);
  const ticket = instance.arrive(frameOf(keys));
  const sent = instance.flights.find(({ region }) => region === 'far');
  if (sent === undefined) throw new Error('a round is on its way');
  const result = instance.run(sent);
  const pair: RoundPair | undefined =
    result.kind === 'executed' ? result.reply.history.at(-1) : undefined;
  instance.end(sent, result);
  instance.executeAll(['near']);
  if (instance.answerTo(ticket)?.kind !== 'decided') throw new Error('the write is decided');
  far.restore(backup);
  far.memory = -1;
  far.round(sent.round);
  far.memory = Number.POSITIVE_INFINITY;
  const read = far.snapshot({
    shard: 0,
    generation: sent.round.generation,
    strong: true,
    leased: false,
    lastAcknowledged: pair ?? null,
    settle: [],
    keys,
    commands: [],
  });
  if (read.kind === 'read' && read.locks.length < keys.length) {
    throw new Error('a read misses a write that was answered');
  }
  return { writes: before + 1 };
}
