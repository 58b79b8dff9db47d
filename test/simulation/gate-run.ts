import type { Send } from '../../shared/protocol/events.ts';
import { frameOf, Rig } from '../core/rig.ts';
import { RegionModel } from '../region/model.ts';
import { Random } from './random.ts';

const names = ['near', 'middle', 'far'];

/**
 * One seeded run in which one region runs every round for minutes and no answer of it arrives, while writes keep coming.
 * Once that is known, nobody is asked to prepare anything; and when the answers come through again, writes are decided.
 */
export function run(seed: number): { readonly rounds: number } {
  const random = new Random(seed);
  const rig = new Rig({ connections: 6 });
  const models = new Map(names.map((name) => [name, new RegionModel(() => rig.now)]));
  const deaf = random.pick(names);
  let rounds = 0;
  const exchange = (send: Send, isLost: boolean) => {
    const result = models.get(send.region)?.round(send.round);
    if (result === undefined) throw new Error(`no region ${send.region}`);
    rounds += 1;
    if (isLost) rig.silence(send);
    else rig.end(send, result);
  };
  const turn = (isDeaf: boolean, ms: number) => {
    for (const send of rig.flights) exchange(send, isDeaf && send.region === deaf);
    rig.advance(ms);
  };
  rig.tick();
  for (let count = 0; count < random.between(2, 6); count += 1) {
    rig.arrive(frameOf([random.pick(['a', 'b', 'c'])]));
    turn(false, random.between(1, 30));
  }
  rig.arrive(frameOf(['d']));
  turn(true, 1);
  for (let count = 0; count < 300; count += 1) {
    if (random.chance(0.2)) rig.arrive(frameOf([random.pick(['a', 'b', 'c', 'd'])], later(rig)));
    const prepared = rig.flights.flatMap(({ round }) => round.prepares);
    const isKnown = rig.core.status().regions.some(({ health }) => health !== 'answering');
    if (count > 5 && isKnown && prepared.length > 0) {
      throw new Error('a region was asked to prepare while another one was silent');
    }
    turn(true, random.between(300, 1_200));
  }
  for (let count = 0; count < 10; count += 1) turn(false, 1_000);
  const ticket = rig.arrive(frameOf(['a'], later(rig)));
  for (let count = 0; count < 10; count += 1) turn(false, 100);
  const told = rig.told(ticket)?.kind;
  if (told !== 'decided') throw new Error(`the first write after the silence was answered ${told}`);
  return { rounds };
}

function later(rig: Rig): { readonly notAfter: number } {
  return { notAfter: rig.now + 10_000 };
}
