/** Tests idempotency keys of writes that the present release would refuse, and their digests. */
import { describe, expect, it } from 'vitest';
import type { RecallRequest, WriteAnswer } from '../../shared/contracts/coordinator.ts';
import { askedByWrite } from '../../shared/http/idempotency.ts';
import { limits } from '../../shared/limits.ts';
import { decided, EdgeUnderTest, problemOf, regionIds, tokens } from './fakes.ts';

const keptUntil = 1_795_086_400_000;
const first = decided({ keptUntil }, true);

/** An edge whose coordinator returns the first answer for every key, and the recall requests that it got. */
function recalling(answer: WriteAnswer | null = first) {
  const recalled: RecallRequest[] = [];
  const edge = new EdgeUnderTest({
    recall: async (requests) => {
      recalled.push(...requests);
      return requests.map(() => answer);
    },
    write: async () => decided({ keptUntil }),
  });
  const silent = [{ kind: 'silent', reason: 'it did not answer' }] as const;
  edge.regions = Object.fromEntries(regionIds.map((region) => [region, silent]));
  return { edge, recalled };
}

const key = { 'idempotency-key': 'order 7' };

describe('a repeated request that this release would refuse', () => {
  const refused: readonly (readonly [why: string, method: string, path: string, body: unknown])[] =
    [
      ['a command that is not supported', 'POST', '/v1/writes', { ops: [['KEYS', '*']] }],
      ['a bound', 'POST', '/v1/writes', { ops: [['DEL', 'k'.repeat(limits.keyBytes + 1)]] }],
      ['its shape', 'POST', '/v1/writes', { ops: [['SET', 'k', 1]], priority: 99 }],
      [
        'its callback',
        'POST',
        '/v1/writes',
        { ops: [['SET', 'k', 1]], callback: { url: 'http://127.0.0.1/' } },
      ],
      ['the shape of a PUT', 'PUT', '/v1/keys/k', { value: 'v', expiresInMs: 0 }],
      ['a key', 'PUT', '/v1/keys/lockstep:k', { value: 'v' }],
      ['a key', 'DELETE', '/v1/keys/lockstep:k', undefined],
      ['conditions that cannot be read', 'DELETE', '/v1/keys/k', undefined],
    ];

  it.each(refused)(
    'for %s gets the first response again: %s %s',
    async (why, method, path, body) => {
      const headers = why.startsWith('conditions') ? { ...key, 'if-match': '"e"' } : key;
      const question = { headers, ...(body !== undefined && { body }) };
      const { edge, recalled } = recalling();
      const response = await edge.ask(method, path, question);
      expect([response.status, response.headers.get('idempotency-replayed')]).toEqual([
        200,
        'true',
      ]);
      expect(response.headers.get('idempotency-kept-until')).toBe(
        new Date(keptUntil).toISOString(),
      );
      expect(recalled).toHaveLength(1);
      expect(edge.writes).toEqual([]);
      const unknown = recalling(null);
      expect((await unknown.edge.ask(method, path, question)).status).toBeGreaterThanOrEqual(400);
      // Without a key the edge recalls nothing.
      const keyless = recalling();
      const bare = why.startsWith('conditions') ? { 'if-match': '"e"' } : {};
      await keyless.edge.ask(method, path, { ...question, headers: bare });
      expect(keyless.recalled).toEqual([]);
    },
  );

  it('gets no claim that nothing was written if the coordinator does not answer', async () => {
    const edge = new EdgeUnderTest({ recall: () => Promise.reject(new Error('reset')) });
    const response = await edge.write({ ops: [['KEYS', '*']] }, key);
    expect(problemOf(response)).toBe('coordinator-unavailable');
  });

  it('makes no additional call if it is not refused', async () => {
    const { edge, recalled } = recalling();
    await edge.write({ ops: [['SET', 'k', 1]] }, key);
    expect([edge.writes.length, recalled.length]).toEqual([1, 0]);
  });

  it('is recalled with the same digest as its first time', async () => {
    const { edge, recalled } = recalling();
    await edge.write({ ops: [['SET', 'k', 1]] }, key);
    await edge.write({ ops: [['SET', 'k', '1']], timeoutMs: 1 }, key);
    expect(recalled[0]?.idempotency).toEqual(edge.writes[0]?.idempotency);
  });
});

describe('a repeated request of the Upstash dialect that this release would refuse', () => {
  it('gets the first responses, command by command', async () => {
    const { edge, recalled } = recalling(decided({ part: '[0,{"s":"first"}]' }, true));
    const response = await edge.ask('POST', '/pipeline', {
      headers: key,
      body: [['KEYS'], ['PING'], ['CLUSTER', 'INFO']],
    });
    expect(JSON.parse(response.text)).toEqual([
      { result: 'first' },
      { result: 'PONG' },
      { result: 'first' },
    ]);
    expect(recalled.map(({ idempotency }) => idempotency.key)).toEqual([
      'writer:0:order 7',
      'writer:2:order 7',
    ]);
  });

  it('gets the first response of a transaction', async () => {
    const { edge } = recalling(decided({ part: '[0,{"s":"OK"},{"s":"first"}]' }, true));
    const body = [
      ['SET', 'k', 'v'],
      ['CLUSTER', 'INFO'],
    ];
    const response = await edge.ask('POST', '/multi-exec', { headers: key, body });
    expect(JSON.parse(response.text)).toEqual([{ result: 'OK' }, { result: 'first' }]);
  });
});

describe('an idempotency key', () => {
  it('belongs to its token: the same request of another client is a different one', async () => {
    const { edge } = recalling();
    await edge.ask('POST', '/v1/writes', { headers: key, body: { ops: [['INCR', 'k']] } });
    const admin = { headers: key, token: tokens.admin, body: { ops: [['INCR', 'k']] } };
    await edge.ask('POST', '/v1/writes', admin);
    const [one, other] = edge.writes.map(({ idempotency }) => idempotency);
    expect(one?.digest).toBe(other?.digest);
    expect(one?.key).not.toBe(other?.key);
  });

  it('returns the time until which it is kept, in both dialects', async () => {
    const { edge } = recalling();
    const moment = new Date(keptUntil).toISOString();
    const response = await edge.write({ ops: [['INCR', 'k']] }, key);
    expect(response.json.keptUntil).toBe(moment);
    expect(response.headers.get('idempotency-kept-until')).toBe(moment);
    const upstash = await edge.ask('POST', '/', { headers: key, body: ['INCR', 'k'] });
    expect(upstash.headers.get('idempotency-kept-until')).toBe(moment);
  });

  it.each([
    ['writes', 'LOCKSTEP_KEPT_BYTES'],
    ['keys', 'without the key'],
  ] as const)(
    'or a write that exceeds the storage is refused with 507: %s',
    async (what, advice) => {
      const edge = new EdgeUnderTest({ write: async () => ({ kind: 'full', what }) });
      const response = await edge.write({ ops: [['INCR', 'k']] }, key);
      expect([response.status, problemOf(response)]).toEqual([507, 'storage-full']);
      expect(response.json.detail).toContain(advice);
      expect(response.headers.get('retry-after')).toBe('60');
      const upstash = await edge.ask('POST', '/', { headers: key, body: ['INCR', 'k'] });
      expect([upstash.status, upstash.json.error]).toEqual([507, expect.stringContaining(advice)]);
    },
  );

  it('has a digest of the body’s content, not of its spelling', () => {
    const asked = (body: unknown) => JSON.stringify(askedByWrite(body));
    const check = { key: 'a', equals: 1 };
    expect(asked({ checks: [check], ops: [['SET', 'k', 1]] })).toBe(
      asked({ ops: [['SET', 'k', '1']], checks: [{ equals: '1', key: 'a' }], ack: 'confirmed' }),
    );
    expect(asked({ ops: [['SET', 'k', 1]] })).not.toBe(asked({ ops: [['SET', 'k', 2]] }));
    const callback = { url: 'https://a.example.com', secret: 'one' };
    expect(asked({ callback })).toBe(asked({ callback: { ...callback, secret: 'two' } }));
    expect(asked({ callback })).not.toBe(asked({ callback: { url: 'https://b.example.com' } }));
    for (const odd of [null, 1, 'x', [], { ops: null }, { callback: 7 }]) {
      expect(typeof asked(odd)).toBe('string');
    }
  });
});
