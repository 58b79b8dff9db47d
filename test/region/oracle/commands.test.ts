/** Compares the command table and the rewrites with a real server. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { placesFor } from '../../../local/gateway/round-trips.ts';
import { type LocalRegion, redisKind, startRegion } from '../../../local/stack/regions.ts';
import { compileReads, compileWrite } from '../../../shared/commands/compile.ts';
import { commandTable, findCommand } from '../../../shared/commands/table.ts';
import { type Operation, operationAt } from '../../../shared/contracts/frame.ts';
import { context, now, samples } from '../../commands/command-samples.ts';
import { connectTo } from '../../support/redis.ts';

const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-commands-'));
let region: LocalRegion;
let redis: Redis;

beforeAll(async () => {
  const [place] = placesFor(1);
  if (place === undefined) throw new Error('placesFor(1) has to return a place');
  region = await startRegion(place, stateDirectory, redisKind());
  redis = connectTo(region.port);
});

afterAll(async () => {
  redis.disconnect();
  await region.stop();
  rmSync(stateDirectory, { recursive: true });
});

async function ask(...[name = '', ...rest]: readonly string[]): Promise<unknown> {
  return redis.call(name, ...rest);
}

/** As {@link ask}, with an error as the text that a client gets. */
async function replyOf(words: readonly string[]): Promise<unknown> {
  return ask(...words).catch((error: Error) => ({ error: error.message }));
}

/**
 * Differences to the flags of Redis's own table: it counts values that a command stores for itself, or lacks changes.
 */
const claimedOtherwise: ReadonlyMap<string, readonly string[]> = new Map([
  // PFCOUNT caches its count in the key, unless there are two.
  ['PFCOUNT', ['from', 'from2']],
  // The stream records the deliveries.
  ['XREADGROUP', []],
  // Among writes they lock their keys as other scripts do.
  ['EVAL_RO', []],
  ['EVALSHA_RO', []],
]);

describe('the command table, compared with a real server,', () => {
  it('lists every command that the server has had since Redis 7.0, and no other', async () => {
    const documentation = (await ask('COMMAND', 'DOCS')) as readonly unknown[];
    const listed: string[] = [];
    for (let at = 0; at < documentation.length; at += 2) {
      const facts = documentation[at + 1] as readonly unknown[];
      const since = String(facts[facts.indexOf('since') + 1]);
      if (Number.parseFloat(since) <= 7) listed.push(String(documentation[at]).toUpperCase());
    }
    // Commands for the expiry of hash fields came later, and are refused.
    const later = /^H(?:P?(?:EXPIRE(?:AT|TIME)?|TTL)|PERSIST|GETDEL|GETEX|SETEX)$/;
    const rows = commandTable.filter(({ group, name }) => group !== 'json' && !later.test(name));
    expect(rows.map((row) => row.name).sort()).toEqual(listed.sort());
  });

  // A server of Redis 7.0 knows no JSON.
  const known = samples.filter((words) => !words.startsWith('JSON.'));

  it.each(known)('agrees about the arity of %s', async (words) => {
    const [name = ''] = words.split(' ');
    const row = findCommand(name);
    if (row === null || row.class === 'refused') throw new Error(`${name} has no arity`);
    const [information] = (await ask('COMMAND', 'INFO', name)) as readonly (readonly unknown[])[];
    // A later server may accept more than Redis 7.0 did: ZRANK gained an option.
    const grown = row.arity > 0 ? [row.arity, -row.arity] : [row.arity];
    expect(grown).toContain(information?.[1]);
  });

  const aboutNoKey = new Set([
    'DBSIZE',
    'FLUSHALL',
    'FLUSHDB',
    'KEYS',
    'PUBLISH',
    'PUBSUB',
    'RANDOMKEY',
    'SCAN',
  ]);
  const named = known.filter((words) => !aboutNoKey.has(words.split(' ')[0] ?? ''));

  it.each(named)('agrees about the keys of %s and which of them it changes', async (words) => {
    const args = words.split(' ');
    const found = (await ask('COMMAND', 'GETKEYSANDFLAGS', ...args)) as readonly [
      string,
      readonly string[],
    ][];
    const [name = ''] = args;
    const compiled =
      findCommand(name)?.class === 'read' ? compileReads([args], context.scripts) : null;
    const keys = compiled?.ok ? compiled.keys : keysInOrder(words);
    expect([...keys].sort()).toEqual(found.map(([key]) => key).sort());
    // The samples name a key `to` if it may be changed, and the core's tests hold the compiler to that.
    const changed = found.filter(([, flags]) => !flags.includes('RO')).map(([key]) => key);
    const expected = keys.filter((key) => key.startsWith('to')).sort();
    expect(changed.sort()).toEqual(claimedOtherwise.get(name) ?? expected);
  });
});

function keysInOrder(words: string): readonly string[] {
  const compiled = compileWrite([words.split(' ')], [], context);
  if (!compiled.ok) throw new Error(compiled.detail);
  return compiled.keys;
}

describe('a rewritten command, compared with its original,', () => {
  beforeEach(async () => {
    await ask('FLUSHALL');
  });

  const cases = [
    'SET k w',
    'SET k w EX 1000',
    'SET k w PXAT 1',
    'SET k w EXAT 5000000000',
    'SET k w NX PX 1000000',
    'SET k w XX GET EX 1000',
    'SET k w KEEPTTL',
    'SETEX k 1000 w',
    'PSETEX k 1000000 w',
    'GETEX k',
    'GETEX k EX 1000',
    'GETEX k PXAT 1',
    'GETEX k PERSIST',
    'EXPIRE k 1000',
    'EXPIRE k 0',
    'EXPIRE k -1 NX',
    'EXPIRE k -1 XX',
    'EXPIRE k -1 GT',
    'EXPIRE k -1 LT',
    'PEXPIRE k 1000000 GT',
    'EXPIREAT k 5000000000 LT',
    'PEXPIREAT k 5000000000000 XX',
    'DEL k',
    'UNLINK k other',
  ];
  const bases: readonly (readonly [string, readonly string[] | null])[] = [
    ['no key', null],
    ['a key without expiry', ['SET', 'k', 'v']],
    ['a key with an expiry', ['SET', 'k', 'v', 'EXAT', '4000000000']],
  ];
  const pairs = cases.flatMap((words) => bases.map(([base, setup]) => ({ words, base, setup })));

  it.each(pairs)(
    'has the same reply and leaves the same value: $words on $base',
    async ({ words, setup }) => {
      const outcomeOf = async (args: readonly string[]) => {
        await ask('DEL', 'k');
        if (setup !== null) await ask(...setup);
        const reply = await replyOf(args);
        const moment = Number(await ask('PEXPIRETIME', 'k'));
        // A relative expiry differs by the time between the two runs; it lies within a day, every other expiry far
        // beyond.
        const isRelative = moment > 0 && moment < Date.now() + 86_400_000;
        return { reply, value: await ask('GET', 'k'), expiry: isRelative ? 'relative' : moment };
      };
      const now = Date.now();
      const compiled = compileWrite([words.split(' ')], [], { now, seed: () => 0 });
      if (!compiled.ok) throw new Error(compiled.detail);
      const carried = compiled.operations.map((operation) => operationAt(operation, now));
      const [rewritten = []] = carried.map(commandOf);
      expect(await outcomeOf(rewritten)).toEqual(await outcomeOf(words.split(' ')));
    },
  );
});

/** The Redis command that an operation stands for. */
function commandOf({ kind, args }: Operation): readonly string[] {
  const [key = '', value = '', expiry = ''] = args;
  if (kind !== 'set') return args;
  return expiry === '' ? ['SET', key, value] : ['SET', key, value, 'PXAT', expiry];
}

describe('a command that the compiler refuses as malformed', () => {
  it.each([
    'GET',
    'MSET a b c',
    'HSET h f v g',
    'ZRANK z m WITHSCORE',
    'SET k v EX 0',
    'SET k v EX +1',
    'SET k v EX 01',
    'SET k v NX XX',
    'SET k v EX 1 PX 1',
    'SET k v EX 1 KEEPTTL',
    'GETEX k EX 1 PERSIST',
    'SETEX k 0 v',
    'EXPIRE k 9223372036854775807',
    'EXPIRE k 1 NX GT',
    'EXPIRE k 1 EX',
    'SPOP s -1',
    'SPOP s 1 2',
    'LMPOP 0 a LEFT',
    'ZUNION 2 a',
    'SINTERCARD 2 a',
    'NOSUCH a',
  ])('is an error in Redis too: %s', async (words) => {
    const args = words.split(' ');
    expect(compileWrite([args], [], { now, seed: () => 0 }).ok).toBe(false);
    expect(await replyOf(args)).toEqual({ error: expect.stringContaining('ERR') });
  });
});
