import type { Operation } from '../../shared/contracts/frame.ts';
import type { Decision, Prepare } from '../../shared/contracts/round.ts';
import {
  abortOf,
  command,
  commitOf,
  del,
  increment,
  part,
  read,
  rename,
  roundOf,
  set,
  snapshotOf,
  ttl,
  write,
} from '../region/fixtures.ts';
import { type Implementation, implementations } from '../region/implementations.ts';
import { Random } from './random.ts';

const hour = 3_600_000;
/** `s` is a set, large enough to be staged by its elements. */
const texts = ['x', 'y', 'w'];
const keys = [...texts, 's'];

const opened = await Promise.all(
  implementations.filter(([name]) => name !== 'redis-server').map(([, open]) => open()),
);

/** Ends the embedded server. */
export async function end(): Promise<void> {
  await Promise.all(opened.map((implementation) => implementation.stop()));
}

/**
 * One seeded run of transactions that set expiries, in the model of a region and in the scripts on the embedded
 * server: both answer and leave the same. The clock of the region is an hour behind a transaction, or an hour ahead
 * of it, so that the expiries which it sets have not passed for anybody, or for the region alone.
 */
export async function run(seed: number): Promise<{ readonly transactions: number }> {
  const random = new Random(seed);
  const transactions = random.between(3, 7);
  const base = Date.now();
  await Promise.all(opened.map((implementation) => implementation.wipe()));
  for (const args of initialOf(random, base)) {
    await agree(args.slice(0, 3).join(' '), (implementation) => implementation.run(...args));
  }
  for (let sequence = 1; sequence <= transactions; sequence += 1) {
    const now = base + random.pick([hour, hour, -hour]) + random.between(0, 3_000);
    await exchange(`prepare ${sequence}`, { prepares: [prepareOfChance(random, sequence, now)] });
    const decision = random.chance(0.85) ? commitOf(sequence, keys) : abortOf(sequence, keys);
    const decisions = random.chance(0.2) ? [decision, decision] : [decision];
    await exchange(`decision ${sequence}`, { decisions });
    await look();
  }
  const state = keys.flatMap((key) => [ttl('PTTL', key), read(['TYPE', key])]);
  const last = { transaction: [1, transactions + 1] as const, keys, now: base + hour };
  await exchange('the final state', { prepares: [{ ...last, parts: [part(...state)] }] });
  return { transactions };
}

function initialOf(random: Random, base: number): readonly (readonly string[])[] {
  const expiry = String(base + hour + random.pick([1, 800, 2_000, hour]));
  const members = Array.from({ length: 140 }, (_, index) => `m${index}`);
  return [
    ...(random.chance(0.7) ? [['SADD', 's', ...members]] : []),
    ...(random.chance(0.7) ? [['PEXPIREAT', 's', expiry]] : []),
    ...(random.chance(0.7) ? [['SET', 'x', '7', 'PXAT', expiry]] : []),
  ];
}

async function exchange(
  name: string,
  given: { readonly prepares?: readonly Prepare[]; readonly decisions?: readonly Decision[] },
): Promise<void> {
  await agree(`${name}: ${JSON.stringify(given)}`, async (implementation) => {
    const result = await implementation.round(
      roundOf({ ...given, nonce: name.replaceAll(/\W/g, '-') }),
    );
    return result.kind === 'executed' ? [result.reply.votes, result.reply.decisions] : result;
  });
}

/** Looks at the data as a plain client sees it. */
async function look(): Promise<void> {
  const reads = texts.map((key) => command(['GET', key]));
  const request = snapshotOf(keys, [...reads, command(['SMEMBERS', 's'], 'members')], {
    strong: false,
  });
  await agree('a look', (implementation) => implementation.snapshot(request));
}

async function agree(
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

function prepareOfChance(random: Random, sequence: number, now: number): Prepare {
  const several = <Item>(most: number, make: () => Item) =>
    Array.from({ length: random.between(1, most) }, make);
  const parts = several(4, () => part(...several(4, () => operationOf(random, now))));
  return { transaction: [1, sequence], keys, now, parts };
}

function operationOf(random: Random, now: number): Operation {
  const soon = String(now + random.pick([-5, 0, 1, 90, 800, 2_000, 10_000_000]));
  const key = random.pick(texts);
  const either = random.pick(keys);
  const conditions = random.pick([[], [], ['NX'], ['XX'], ['GT'], ['LT']]);
  const other = random.pick(texts.filter((one) => one !== key));
  return random.pick([
    set(key, '1', soon),
    set(key, '2'),
    write('SET', key, '3', 'NX', 'PXAT', positive(soon)),
    write('SET', key, '4', 'KEEPTTL'),
    increment(key),
    write('APPEND', key, '5'),
    write('PEXPIREAT', either, soon, ...conditions),
    write('PEXPIREAT', either, soon),
    write('PERSIST', either),
    write('GETEX', key, 'PXAT', positive(soon)),
    write('GETEX', key, 'PERSIST'),
    rename(key, other),
    { ...write('COPY', key, other), writes: [2], reads: [1] },
    { ...write('COPY', key, other), writes: [2], reads: [1] },
    write('PERSIST', 's'),
    del(key),
    write('SADD', 's', random.pick(['m1', 'm2', 'new'])),
    write('SREM', 's', random.pick(['m1', 'm2', 'new'])),
    ttl('PTTL', either),
    ttl('TTL', either),
    read(['GET', key]),
    read(['EXISTS', either]),
  ]);
}

function positive(moment: string): string {
  return Number(moment) > 0 ? moment : '1';
}
