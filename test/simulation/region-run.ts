import type { Operation } from '../../shared/protocol/frame.ts';
import type { Decision, Prepare, Round } from '../../shared/protocol/round.ts';
import {
  command,
  del,
  increment,
  part,
  pop,
  read,
  roundOf,
  set,
  snapshotOf,
  ttl,
  write,
} from '../region/fixtures.ts';
import { type World, worlds } from '../region/worlds.ts';
import { Random } from './random.ts';

const keys = ['a', 's'];
const hour = 3_600_000;
const base = Date.now();

const opened = await Promise.all(
  worlds.filter(([name]) => name !== 'redis-server').map(([, open]) => open()),
);

/** Ends the embedded server. */
export async function end(): Promise<void> {
  await Promise.all(opened.map((world) => world.stop()));
}

/**
 * One seeded run of random rounds and snapshots, early, late, repeated and of strangers, in the model of a region and in
 * the scripts on the embedded server: both answer the same.
 */
export async function run(seed: number): Promise<{ readonly rounds: number }> {
  const random = new Random(seed);
  const rounds = random.between(4, 14);
  await Promise.all(opened.map((world) => world.wipe()));
  for (const args of initialOf(random)) await agree(args.join(' '), (world) => world.run(...args));
  for (let count = 0; count < rounds; count += 1) {
    const round = roundOfChance(random);
    await agree(`round ${JSON.stringify(round)}`, (world) => world.round(round));
    if (random.chance(0.5)) await look(random);
  }
  await look(random);
  return { rounds };
}

/** What is there before: members that do not come in their order, and keys that may expire by the transactions' clock. */
function initialOf(random: Random): readonly (readonly string[])[] {
  if (random.chance(0.3)) return [];
  const expiry = String(base + random.pick([hour, 2 * hour]));
  return [
    ['SADD', 's', 'z', '3', 'x', '1'],
    ['SET', 'a', '7'],
    ...(random.chance(0.6) ? [['PEXPIREAT', 'a', expiry]] : []),
  ];
}

async function look(random: Random): Promise<void> {
  const reads = [command(['GET', 'a']), command(['TYPE', 's'])];
  const request = snapshotOf(keys, [...reads, command(['SMEMBERS', 's'], 'members')], {
    strong: random.chance(0.5),
    settle: random.chance(0.6) ? [decisionOf(random)] : [],
    generation: rarely(random, 2, 1),
  });
  await agree(`snapshot ${JSON.stringify(request)}`, (world) => world.snapshot(request));
}

async function agree(asked: string, ask: (world: World) => Promise<unknown>): Promise<void> {
  const answers = await Promise.all(opened.map(async (world) => JSON.stringify(await ask(world))));
  const [model, ...others] = answers;
  for (const other of others) {
    if (other !== model) throw new Error(`${asked}: the model said ${model}, the scripts ${other}`);
  }
}

function roundOfChance(random: Random): Round {
  return roundOf({
    generation: rarely(random, 2, 1),
    epoch: rarely(random, 2, 1),
    incarnation: rarely(random, 2, 1),
    begin: random.chance(0.9),
    askOlder: random.chance(0.3),
    floor: random.pick([
      [0, 0],
      [0, 0],
      [0, 0],
      [1, 2],
      [1, 4],
    ] as const),
    seen: random.pick([null, null, null, null, [1, 'mark'], [2, 'mark']] as const),
    mark: rarely(random, 'other', 'mark'),
    decisions: several(random, 3, () => decisionOf(random)),
    prepares: several(random, 3, () => prepareOfChance(random)),
  });
}

function several<Item>(random: Random, most: number, make: () => Item): readonly Item[] {
  return Array.from({ length: random.between(0, most) }, make);
}

function rarely<Value>(random: Random, rare: Value, usual: Value): Value {
  return random.chance(0.07) ? rare : usual;
}

function decisionOf(random: Random): Decision {
  const [transaction, held] = transactionOf(random);
  return { transaction, outcome: random.pick(['commit', 'commit', 'abort']), keys: held };
}

function prepareOfChance(random: Random): Prepare {
  const [transaction, held] = transactionOf(random);
  const parts = several(random, 4, () => part(operationOf(random, random.pick(held))));
  return { transaction, keys: held, now: base + random.pick([0, hour, hour + 1]), parts };
}

/** The keys of a transaction follow from its name, as its decision has to name the same ones as its prepare. */
function transactionOf(random: Random) {
  const sequence = random.between(1, 7);
  const transaction = [rarely(random, 2, 1), sequence] as const;
  return [
    transaction,
    sequence % 3 === 0 ? keys : keys.slice((sequence % 3) - 1, sequence % 3),
  ] as const;
}

function operationOf(random: Random, key: string): Operation {
  const text = random.pick(['1', 'x', 'y']);
  const at = String(base + random.pick([hour, hour + 1, 2 * hour]));
  const any = [write('PEXPIREAT', key, at), del(key), ttl('PTTL', key), set(key, text, at)];
  if (key === 's') {
    const drawn = pop(key, '', random.between(0, 1_000));
    return random.pick([
      write('SADD', key, 'z', text),
      drawn,
      read(['SMEMBERS', key], 'members'),
      ...any,
    ]);
  }
  return random.pick([set(key, text), increment(key), write('APPEND', key, text), ...any]);
}
