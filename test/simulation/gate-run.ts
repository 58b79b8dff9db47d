import type { SentRound } from '../../shared/protocol/io/ready.ts';
import { frameOf } from '../protocol/core-harness.ts';
import { Random } from './random.ts';
import { SingleInstance } from './single-instance.ts';

const names = ['near', 'middle', 'far'];

/**
 * One seeded run in which one region, or every one of them, runs every round for minutes and no answer of it arrives,
 * while writes keep coming. Once that is known, no silent region is asked to prepare anything, and nobody is while one
 * that votes is silent; and when the answers come through again, writes are decided, with every region.
 */
export function run(seed: number): { readonly rounds: number } {
  const random = new Random(seed);
  const instance = new SingleInstance(names);
  const deaf = new Set(random.chance(0.5) ? names : [random.pick(names)]);
  let rounds = 0;
  const turn = (isDeaf: boolean, ms: number) => {
    for (const send of instance.flights) {
      rounds += 1;
      const result = instance.run(send);
      const isLost = isDeaf && deaf.has(send.region);
      instance.end(send, isLost ? { kind: 'silent', reason: 'timed out' } : result);
    }
    instance.advance(ms);
  };
  instance.tick();
  for (let count = 0; count < random.between(2, 6); count += 1) {
    instance.arrive(frameOf([random.pick(['a', 'b', 'c'])]));
    turn(false, random.between(1, 30));
  }
  instance.arrive(frameOf(['d']));
  turn(true, 1);
  for (let count = 0; count < 300; count += 1) {
    if (random.chance(0.2))
      instance.arrive(frameOf([random.pick(['a', 'b', 'c', 'd'])], later(instance)));
    if (count > 5) checkPrepares(instance, instance.flights);
    turn(true, random.between(300, 1_200));
  }
  for (let count = 0; count < 30; count += 1) turn(false, 1_000);
  const ticket = instance.arrive(frameOf(['a'], later(instance)));
  for (let count = 0; count < 10; count += 1) turn(false, 100);
  const kind = instance.answerTo(ticket)?.kind;
  if (kind !== 'decided') throw new Error(`the first write after the silence was answered ${kind}`);
  const absent = instance.core.status().regions.filter(({ state }) => state !== 'voter');
  if (absent.length > 0) throw new Error(`${absent.map(({ region }) => region)} has not come back`);
  return { rounds };
}

function checkPrepares(instance: SingleInstance, flights: readonly SentRound[]): void {
  const { regions } = instance.core.status();
  const isSilent = regions.some(({ state, health }) => state === 'voter' && health !== 'answering');
  const prepared = flights.filter(({ round }) => round.prepares.length > 0);
  if (isSilent && prepared.length > 0) {
    throw new Error('a region was asked to prepare while one that votes was silent');
  }
}

function later(instance: SingleInstance): { readonly notAfter: number } {
  return { notAfter: instance.now + 10_000 };
}
