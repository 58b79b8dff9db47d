import { describe, expect, it } from 'vitest';
import type { CoordinatorApi, WriteAnswer } from '../../shared/contracts/coordinator.ts';
import { encodeReply } from '../../shared/contracts/reply.ts';
import { shardOfWriteId } from '../../shared/ids.ts';
import { initialMap, type ShardMap, shardOf } from '../../shared/shards/shard-map.ts';
import { decided, EdgeUnderTest, problemOf, read, statusWith, tokens } from './fakes.ts';

const four = initialMap(4);

/** Keys of a shard of four, by number. */
function keyIn(shard: number, skip = 0): string {
  for (let number = 0, left = skip; ; number += 1) {
    if (shardOf(`key:${number}`, four) !== shard) continue;
    if (left === 0) return `key:${number}`;
    left -= 1;
  }
}

/** The map of four shards after all slots of `from` went to `to`. */
function movedMap(from: number, to: number): ShardMap {
  const shards = four.shards.map((one) => (one.shard === from ? { ...one, shard: to } : one));
  return { version: 2, shards: mergedOf(shards) };
}

function mergedOf(shards: ShardMap['shards']): ShardMap['shards'] {
  const numbers = [...new Set(shards.map(({ shard }) => shard))];
  return numbers.map((shard) => ({
    shard,
    placement: 'default',
    ranges: shards.filter((one) => one.shard === shard).flatMap(({ ranges }) => ranges),
  }));
}

/** An edge over shards whose coordinators commit everything, but for those that have `moved` keys. */
function edgeOf(shards: number, moved: readonly number[] = []) {
  const edge = new EdgeUnderTest({}, {}, shards);
  const written: [shard: number, id: string][] = [];
  for (let shard = 0; shard < 6; shard += 1) {
    const write: CoordinatorApi['write'] = async ({ id, ops }): Promise<WriteAnswer> => {
      written.push([shard, id]);
      if (!moved.includes(shard)) return decided({ id });
      return { kind: 'moved', version: 2, keys: ops.flatMap(([, key = '']) => key) };
    };
    edge.ofShard.set(shard, { write, describe: async () => ({ ...statusWith(), shard }) });
  }
  const shardsWritten = () => written.map(([shard]) => shard);
  return { edge, written, shardsWritten };
}

const set = (...keys: readonly string[]) => ({ ops: keys.map((key) => ['SET', key, 'v']) });

describe('a write', () => {
  it('goes to the shard of its keys, under an id that names it', async () => {
    const { edge, written } = edgeOf(4);
    for (const shard of [0, 1, 2, 3]) {
      const { json } = await edge.write(set(keyIn(shard), keyIn(shard, 1)));
      expect(shardOfWriteId(String(json.id))).toBe(shard);
    }
    expect(written.map(([shard]) => shard)).toEqual([0, 1, 2, 3]);
    for (const [shard, id] of written) expect(shardOfWriteId(id)).toBe(shard);
    expect(edge.registryCalls).toBe(0);
  });

  it('goes to its own shard, also if writes to several come at once', async () => {
    const { edge, written } = edgeOf(4);
    const writes = [1, 2, 1, 2, 1, 3].map((shard, skip) => edge.write(set(keyIn(shard, skip))));
    for (const { status } of await Promise.all(writes)) expect(status).toBe(200);
    expect(written.map(([shard]) => shard).toSorted()).toEqual([1, 1, 1, 2, 2, 3]);
    for (const [shard, id] of written) expect(shardOfWriteId(id)).toBe(shard);
  });

  it('asks for no map with one shard, for any keys', async () => {
    const { edge, shardsWritten } = edgeOf(1);
    await edge.write(set(keyIn(0), keyIn(1), keyIn(2)));
    await edge.write({ ops: [['FLUSHALL']] });
    expect(shardsWritten()).toEqual([0, 0]);
    expect(edge.registryCalls).toBe(0);
  });

  it.each([
    ['keys', set(keyIn(2), keyIn(1))],
    ['all keys', { ops: [['FLUSHALL']] }],
    ['a check', { ...set(keyIn(2)), checks: [{ key: keyIn(3), absent: true }] }],
  ])('with %s of several shards is refused, and nothing is sent', async (_, body) => {
    const { edge, written } = edgeOf(4);
    const response = await edge.write(body);
    expect([response.status, problemOf(response)]).toEqual([422, 'several-shards']);
    expect(response.json.detail).toContain('same hash tag');
    expect(written).toEqual([]);
  });

  it('may name keys of one hash tag, and a channel has the slot of its name', async () => {
    const { edge, shardsWritten } = edgeOf(4);
    const tag = `{${keyIn(3)}}`;
    const ops = [
      ['SET', `${tag}:a`, '1'],
      ['PUBLISH', `${tag}:news`, 'm'],
    ];
    expect((await edge.write({ ops })).status).toBe(200);
    expect(shardsWritten()).toEqual([3]);
  });

  it('whose keys have moved is sent once more, by the map that the registry has', async () => {
    const { edge, written } = edgeOf(4, [1]);
    edge.registry = async () => movedMap(1, 5);
    const { status, json } = await edge.write(set(keyIn(1)));
    expect(status).toBe(200);
    expect(written.map(([shard]) => shard)).toEqual([1, 5]);
    expect(shardOfWriteId(String(json.id))).toBe(5);
    expect(written[0]?.[1].slice(2)).toBe(written[1]?.[1].slice(2));
    await edge.write(set(keyIn(1)));
    expect(written.map(([shard]) => shard)).toEqual([1, 5, 5]);
    expect(edge.registryCalls).toBe(1);
  });

  it('and others that move together ask the registry once', async () => {
    const { edge, shardsWritten } = edgeOf(4, [1]);
    const { promise, resolve } = Promise.withResolvers<ShardMap>();
    edge.registry = () => promise;
    const writes = [0, 1, 2].map((skip) => edge.write(set(keyIn(1, skip))));
    await new Promise((done) => setTimeout(done));
    resolve(movedMap(1, 5));
    for (const { status } of await Promise.all(writes)) expect(status).toBe(200);
    expect(edge.registryCalls).toBe(1);
    expect(shardsWritten().filter((shard) => shard === 5)).toHaveLength(3);
  });

  it.each<readonly [string, () => Promise<ShardMap>]>([
    ['has no newer map', async () => four],
    ['does not answer', async () => Promise.reject(new Error('it is down'))],
    ['answers something else than a map', async () => ({ version: 9, shards: [] })],
    ['has an older map', async () => ({ ...movedMap(1, 5), version: 0 })],
  ])('whose keys have moved is not sent again if the registry %s', async (_, registry) => {
    const { edge, shardsWritten } = edgeOf(4, [1]);
    edge.registry = registry;
    const response = await edge.write(set(keyIn(1)));
    expect([response.status, problemOf(response)]).toEqual([503, 'coordinator-unavailable']);
    expect(response.json.detail).toContain('Nothing was done');
    expect(shardsWritten()).toEqual([1]);
  });

  it('is sent no third time if its keys have moved once more', async () => {
    const { edge, shardsWritten } = edgeOf(4, [1, 5]);
    edge.registry = async () => movedMap(1, 5);
    const response = await edge.write(set(keyIn(1)));
    expect([response.status, problemOf(response)]).toEqual([503, 'coordinator-unavailable']);
    expect(shardsWritten()).toEqual([1, 5]);
  });

  it('whose script was found to touch keys of other shards is refused with several', async () => {
    const { edge } = edgeOf(4);
    const keys = [keyIn(1), keyIn(2)];
    edge.ofShard.set(1, { write: async () => ({ kind: 'moved', version: 1, keys }) });
    const response = await edge.write(set(keyIn(1)));
    expect([response.status, problemOf(response)]).toEqual([422, 'several-shards']);
  });

  it('that is handed in goes to its shard as well', async () => {
    const { edge } = edgeOf(4);
    edge.ofShard.set(2, { accept: async ({ id }) => ({ kind: 'accepted', id }) });
    const response = await edge.write(set(keyIn(2)), { Prefer: 'respond-async' });
    expect(response.headers.get('location')).toMatch(/^\/v1\/writes\/2-/);
  });
});

describe('a pipeline', () => {
  const pipeline = (edge: EdgeUnderTest, ...keys: readonly string[]) =>
    edge.ask('POST', '/pipeline', { body: keys.map((key) => ['SET', key, 'v']) });

  it('goes to the shard of its keys', async () => {
    const { edge, shardsWritten } = edgeOf(4);
    await pipeline(edge, keyIn(2), keyIn(2, 1));
    expect(shardsWritten()).toEqual([2, 2]);
  });

  it('sends the writes again whose keys have moved, and these alone', async () => {
    const { edge, written } = edgeOf(4);
    const answers: readonly WriteAnswer[] = [
      decided(),
      { kind: 'moved', version: 2, keys: [keyIn(2, 1)] },
    ];
    edge.ofShard.set(2, { writeAll: async () => answers });
    edge.registry = async () => movedMap(2, 4);
    const { text } = await pipeline(edge, keyIn(2), keyIn(2, 1));
    expect(JSON.parse(text)).toEqual([{ result: 'OK' }, { result: 'OK' }]);
    expect(written.map(([shard]) => shard)).toEqual([4]);
  });

  it('reports those that were decided if others have moved once more, or without end', async () => {
    const { edge } = edgeOf(4, [4]);
    const movedAway = { kind: 'moved', version: 2, keys: [keyIn(2, 1)] } as const;
    edge.ofShard.set(2, { writeAll: async () => [decided(), movedAway] });
    const [first, second] = JSON.parse((await pipeline(edge, keyIn(2), keyIn(2, 1))).text);
    expect(first).toEqual({ result: 'OK' });
    expect(second.error).toContain('another shard');
    edge.registry = async () => movedMap(2, 4);
    const [third, fourth] = JSON.parse((await pipeline(edge, keyIn(2), keyIn(2, 1))).text);
    expect(third).toEqual({ result: 'OK' });
    expect(fourth.error).toContain('another shard');
  });

  it('does not claim that nothing was written if the other shard does not answer', async () => {
    const { edge } = edgeOf(4);
    const movedAway = { kind: 'moved', version: 2, keys: [keyIn(2, 1)] } as const;
    edge.ofShard.set(2, { writeAll: async () => [decided(), movedAway] });
    edge.ofShard.set(4, { writeAll: async () => Promise.reject(new Error('reset')) });
    edge.registry = async () => movedMap(2, 4);
    const { text } = await pipeline(edge, keyIn(2), keyIn(2, 1));
    expect(text).toContain('outcome of the write is unknown');
    expect(text).not.toContain('Nothing was');
  });

  it('of several shards fails as a whole', async () => {
    const { edge, written } = edgeOf(4);
    const { text } = await pipeline(edge, keyIn(2), keyIn(1));
    expect(text).toContain('2 shards');
    expect(written).toEqual([]);
  });
});

describe('a read', () => {
  const query = (key: string) => ({ token: tokens.read, body: { reads: [['GET', key]] } });

  it('names the shard of its keys, and asks that shard about regions', async () => {
    const { edge } = edgeOf(4);
    edge.regions = { 'us-east-1': [read('["v"]')] };
    const { status } = await edge.ask('POST', '/v1/reads', query(keyIn(3)));
    expect(status).toBe(200);
    expect(edge.snapshots.map(({ request }) => request.shard)).toEqual([3]);
  });

  it('whose keys have moved is tried once more, by the newer map', async () => {
    const { edge } = edgeOf(4);
    const lease = { kind: 'refused', refusal: { kind: 'lease' } } as const;
    edge.regions = Object.fromEntries(
      ['us-east-1', 'eu-west-1', 'ap-northeast-1'].map((id) => [id, [lease]]),
    );
    edge.ofShard.set(3, { read: async () => ({ kind: 'moved', version: 2 }) });
    edge.ofShard.set(5, {
      read: async () => ({ kind: 'read', replies: encodeReply(['v']), region: 'eu-west-1' }),
    });
    edge.registry = async () => movedMap(3, 5);
    const { status, text } = await edge.ask('POST', '/v1/reads', query(keyIn(3)));
    expect([status, text]).toEqual([200, expect.stringContaining('"v"')]);
    expect(edge.registryCalls).toBe(1);
  });

  it.each([
    ['2 shards', ['MGET', keyIn(1), keyIn(2)]],
    ['4 shards', ['DBSIZE']],
    ['4 shards', ['EVAL_RO', 'return 1', '1', keyIn(1)]],
  ])('of %s is refused: %j', async (shards, command) => {
    const { edge } = edgeOf(4);
    const response = await edge.ask('POST', '/', { body: command });
    expect([response.status, response.text]).toEqual([400, expect.stringContaining(shards)]);
    expect(edge.snapshots).toEqual([]);
  });

  it('without locks may have keys of several shards', async () => {
    const { edge } = edgeOf(4);
    edge.regions = { 'us-east-1': [read('[["a","b"]]')] };
    const reads = [['MGET', keyIn(1), keyIn(2)]];
    const { status } = await edge.ask('POST', '/v1/reads', {
      body: { reads, consistency: 'local' },
    });
    expect(status).toBe(200);
    expect(edge.snapshots.map(({ request }) => request.shard)).toEqual([1]);
  });
});

describe('with several shards', () => {
  const admin = { token: tokens.admin };

  it('GET /v1/regions has an entry per coordinator, by the newest map', async () => {
    const { edge } = edgeOf(4);
    edge.registry = async () => movedMap(1, 5);
    const { json } = await edge.ask('GET', '/v1/regions', admin);
    const coordinators = json.coordinators as readonly { readonly shard: number }[];
    expect(coordinators.map(({ shard }) => shard)).toEqual([0, 5, 2, 3]);
  });

  it('a command of an operator goes to each shard, and ends at the first that refuses it', async () => {
    const { edge } = edgeOf(3);
    const asked: number[] = [];
    for (const shard of [0, 1, 2]) {
      const kind = shard === 1 ? 'refused' : 'taken';
      edge.ofShard.set(shard, {
        order: async () => {
          asked.push(shard);
          return { kind, detail: `${kind} by ${shard}.` };
        },
      });
    }
    edge.registry = async () => initialMap(3);
    const response = await edge.ask('POST', '/v1/admin/regions/eu-west-1/out', admin);
    expect(response.status).toBe(202);
    expect(response.json.detail).toBe(
      'shard 0: taken by 0. Not accepted by shard 1: refused by 1. Retry.',
    );
    expect(asked).toEqual([0, 1]);
  });

  it('the outcome of a write is asked of the shard that its id names, if there is one', async () => {
    const { edge } = edgeOf(4);
    edge.ofShard.set(2, { status: async () => ({ kind: 'pending' }) });
    const uuid = '01990a5c-7d3e-7c1a-9b64-2f0d8a51c7e2';
    const of = (shard: number) => edge.ask('GET', `/v1/writes/${shard}-${uuid}`, admin);
    expect((await of(2)).json.outcome).toBe('pending');
    expect(problemOf(await of(9))).toBe('write-unknown');
  });

  it('an idempotency key of a refused write is looked up in each shard', async () => {
    const { edge } = edgeOf(2);
    for (const [shard, answer] of [null, decided({}, true)].entries()) {
      edge.ofShard.set(shard, { recall: async () => [answer] });
    }
    const headers = { 'Idempotency-Key': 'k' };
    const response = await edge.write({ ops: [['NOSUCH', 'a']] }, headers);
    expect([response.status, response.json.replayed]).toEqual([200, true]);
  });

  it('a script is kept by each shard, and known if each has it', async () => {
    const { edge } = edgeOf(2);
    const known = [true, false];
    for (const shard of [0, 1]) {
      edge.ofShard.set(shard, { scriptsKnown: async () => [known[shard] === true] });
    }
    const command = ['SCRIPT', 'EXISTS', 'a'.repeat(40)];
    const { json } = await edge.ask('POST', '/', { body: command });
    expect(json.result).toEqual([0]);
  });

  it('the change feed is refused, since it is not merged yet', async () => {
    const { edge } = edgeOf(2);
    expect(problemOf(await edge.ask('GET', '/v1/changes', admin))).toBe('several-shards');
  });
});
