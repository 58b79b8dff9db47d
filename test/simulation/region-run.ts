import type { Operation } from '../../shared/contracts/frame.ts';
import type {
  CopyForm,
  CopyReply,
  CopyStep,
  Decision,
  Prepare,
  Role,
  Round,
  RoundPair,
} from '../../shared/contracts/round.ts';
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
import { type Implementation, implementations } from '../region/implementations.ts';
import { Random } from './random.ts';

const keys = ['a', 's'];
const hour = 3_600_000;
const base = Date.now();

const rolesOfVoter: readonly Role[] = ['voter', 'voter', 'voter', 'copying', 'out'];
const rolesOfTarget: readonly Role[] = ['copying', 'copying', 'copying', 'copying', 'voter'];

const opened = await Promise.all(
  implementations.filter(([name]) => name !== 'redis-server').map(([, open]) => open()),
);

/** Ends the embedded server. */
export async function end(): Promise<void> {
  await Promise.all(opened.map((implementation) => implementation.stop()));
}

/** The items that each implementation has read for copies, per read: their forms differ. */
let copied: (readonly (readonly string[])[])[] = [];

/** The last pairs of the region's history. */
let pairs: readonly RoundPair[] = [];

/**
 * One seeded run of random rounds and snapshots, early, late, repeated and of strangers, with steps of copies from
 * anywhere, in the model of a region and in the scripts on the embedded server: both answer the same.
 */
export async function run(seed: number): Promise<{ readonly rounds: number }> {
  const random = new Random(seed);
  const rounds = random.between(4, 14);
  // In some runs the region is copied for most of the time.
  const roles = random.chance(0.3) ? rolesOfTarget : rolesOfVoter;
  await beginEmpty();
  for (const args of initialOf(random))
    await agree(args.join(' '), (implementation) => implementation.run(...args));
  for (let count = 0; count < rounds; count += 1) {
    await exchange(roundOfChance(random, roles), random.between(0, 100));
    if (random.chance(0.5)) await look(random);
  }
  await look(random);
  return { rounds };
}

/** Empties every implementation. */
export async function beginEmpty(): Promise<void> {
  copied = [];
  pairs = [];
  await Promise.all(opened.map((implementation) => implementation.wipe()));
}

/** The initial data: members out of order, and keys that may expire by the transactions' clock. */
function initialOf(random: Random): readonly (readonly string[])[] {
  if (random.chance(0.3)) return [];
  const expiry = String(base + random.pick([hour, 2 * hour]));
  return [
    ['SADD', 's', 'z', '3', 'x', '1'],
    ['SET', 'a', '7'],
    ...(random.chance(0.6) ? [['PEXPIREAT', 'a', expiry]] : []),
  ];
}

/**
 * One round in every implementation; a copy's write brings the items that the implementation itself has read. Returns
 * the last pairs of the history.
 */
export async function exchange(round: Round, choice: number): Promise<readonly RoundPair[]> {
  const read: (readonly string[])[] = [];
  await agree(`round ${JSON.stringify(round)}`, async (implementation) => {
    const index = opened.indexOf(implementation);
    const data = copied[choice % Math.max(1, copied.length)]?.[index] ?? [];
    const copy = round.copy?.kind === 'write' ? { ...round.copy, data } : round.copy;
    const result = await implementation.round({ ...round, copy });
    if (result.kind !== 'executed') return result;
    // Whether memory was checked depends on the progress of an attempt.
    const { clock, copy: reply, isFull: _, ...rest } = result.reply;
    if (reply?.kind === 'read') read[index] = reply.items.map((item) => item.data);
    pairs = rest.history;
    return { ...rest, hasClock: clock !== null, copy: comparable(reply) };
  });
  if (read.length > 0) copied.push(read);
  return pairs;
}

/**
 * The part of a reply that must be the same in all implementations: they scan in orders of their own, and count their
 * own keys too.
 */
function comparable(reply: CopyReply | null): unknown {
  if (reply?.kind === 'listed')
    return { keys: reply.keys.toSorted(), isEnd: reply.cursor === null };
  if (reply?.kind !== 'read') return reply;
  const { items, locked, left, cursor, total } = reply;
  const read = items.map(({ key, next }) => [key, next]).toSorted();
  const [isEnd, isCounted] = [cursor === null, total !== null];
  return { read, locked: locked.toSorted(), left: left.toSorted(), isEnd, isCounted };
}

async function look(random: Random): Promise<void> {
  // Short strings alone are read by a script of their own once they have been read.
  const short = [command(['GET', 'a']), command(['GET', 'none'])];
  const mixed = [short[0], command(['TYPE', 's']), command(['SMEMBERS', 's'], 'members')];
  const commands = random.chance(0.4) ? short : mixed.flatMap((each) => each ?? []);
  const request = snapshotOf(keys, commands, {
    lastAcknowledged: random.chance(0.3)
      ? random.pick<RoundPair>([...pairs, [1, 'other'], [99, 'm']])
      : null,
    strong: random.chance(0.5),
    settle: random.chance(0.6) ? [decisionOf(random)] : [],
    generation: rarely(random, 2, 1),
    leased: random.chance(0.3),
  });
  await agree(`snapshot ${JSON.stringify(request)}`, (implementation) =>
    implementation.snapshot(request),
  );
}

/** Fails unless all implementations answer alike. */
export async function agree(
  asked: string,
  ask: (implementation: Implementation) => Promise<unknown>,
): Promise<void> {
  const answers = await Promise.all(
    opened.map(async (implementation) => JSON.stringify(await ask(implementation))),
  );
  const [model, ...others] = answers;
  for (const other of others) {
    if (other !== model) throw new Error(`${asked}: the model said ${model}, the scripts ${other}`);
  }
}

function roundOfChance(random: Random, roles: readonly Role[]): Round {
  const role = random.pick(roles);
  const isVoter = role === 'voter';
  return roundOf({
    role,
    generation: rarely(random, 2, 1),
    epoch: random.pick([1, 1, 1, 2, 3]),
    incarnation: rarely(random, 2, 1),
    begin: random.chance(0.9),
    askOlder: random.chance(0.3),
    lowWatermark: random.pick([
      [0, 0],
      [0, 0],
      [0, 0],
      [1, 2],
      [1, 4],
    ] as const),
    lastAcknowledged: random.pick([null, null, null, null, [1, 'mark'], [2, 'mark']] as const),
    nonce: rarely(random, 'other', 'mark'),
    decisions: isVoter ? several(random, 3, () => decisionOf(random)) : [],
    prepares: isVoter ? several(random, 3, () => prepareOfChance(random)) : [],
    lease: isVoter ? leaseOf(random) : null,
    copy: random.chance(role === 'copying' ? 0.9 : 0.1) ? copyStepOf(random) : null,
  });
}

/** One that lasts longer than the run, or was over before it began. */
function leaseOf(random: Random): Round['lease'] {
  return random.pick([
    null,
    { reading: null, ttlMs: hour },
    { reading: base, ttlMs: hour },
    { reading: base - 2 * hour, ttlMs: hour },
  ]);
}

function copyStepOf(random: Random): CopyStep {
  const token = random.pick(['one', 'one', 'other']);
  const number = random.between(1, 4);
  const form = random.pick<CopyForm>(['dump', 'logical']);
  const wanted = [...keys, 'gone'].map((key) => ({ key, from: '' }));
  return random.pick<CopyStep>([
    { kind: 'begin', token, number, replaces: random.pick([[], [1], [2]]) },
    { kind: 'begin', token, number, replaces: [], agreed: random.pick([1, 2]) },
    { kind: 'write', token, number, data: [] },
    { kind: 'write', token, number, data: [] },
    { kind: 'scan', cursor: '0', count: 1_000, form },
    { kind: 'read', keys: wanted, form: random.pick([form, 'absent']) },
    { kind: 'list', cursor: '0', count: 1_000 },
  ]);
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
