import { describe, expect, it } from 'vitest';
import type { WriteAnswer, WriteStatus } from '../../shared/contracts/coordinator.ts';
import { limits } from '../../shared/limits.ts';
import { decided, EdgeUnderTest, problemOf, recordOf, regionIds, writeId } from './stand-ins.ts';

const body = { ops: [['SET', 'k', 'v']] };

function edgeAnswering(answer: WriteAnswer): EdgeUnderTest {
  return new EdgeUnderTest({ write: async () => answer, accept: async () => answer });
}

function edgeKnowing(status: WriteStatus): EdgeUnderTest {
  return new EdgeUnderTest({ status: async () => status });
}

describe('a write', () => {
  it('reaches the coordinator in canonical form, with the defaults filled in', async () => {
    const edge = edgeAnswering(decided());
    await edge.write({
      ops: [
        ['incrby', 'n', 5],
        ['SET', 'k', 1.5],
      ],
      checks: [
        { key: 'a', absent: true },
        { key: 'b', exists: true },
        { key: 'c', equals: 7 },
        { key: 'd', type: 'hash' },
        { key: 'e', field: 'f', equals: 'v' },
      ],
    });
    expect(edge.writes).toEqual([
      {
        id: '0-01990a5c-7d3e-7c1a-9b64-000000000001',
        ops: [
          ['incrby', 'n', '5'],
          ['SET', 'k', '1.5'],
        ],
        checks: [
          { kind: 'absent', key: 'a' },
          { kind: 'exists', key: 'b' },
          { kind: 'equals', key: 'c', value: '7' },
          { kind: 'type', key: 'd', type: 'hash' },
          { kind: 'field', key: 'e', field: 'f', value: 'v' },
        ],
        continueOnError: false,
        ack: 'committed',
        timeoutMs: 10_000,
        priority: 0,
        notAfter: null,
        callback: null,
        idempotency: null,
        again: false,
      },
    ]);
  });

  it('that was committed is answered with its results and votes', async () => {
    const part =
      '[0,{"s":"OK"},9223372036854775807,null,["a",null,{"e":"ERR x"}],"\u00c3\u00a9","\u00ff"]';
    const told = await edgeAnswering(decided({ part })).write(body);
    expect(told.status).toBe(200);
    expect(told.text).toContain('9223372036854775807');
    expect(told.json).toMatchObject({
      id: writeId,
      outcome: 'committed',
      confirmed: false,
      transaction: '0.1.1',
      sequence: 1,
      attempts: 1,
      ms: 3,
      replayed: false,
      votes: regionIds.map((region) => ({ region, vote: 'yes', ms: 2 })),
    });
    const results = told.json.results;
    expect(results).toEqual([
      'OK',
      '9223372036854775807',
      null,
      ['a', null, { error: 'ERR x' }],
      'é',
      '\ufffd',
    ]);
    expect(told.headers.get('server-timing')).toMatch(
      /^parse;dur=0, coordinator;dur=0, vote;desc="us-east-1";dur=2/,
    );
    expect(told.headers.get('x-request-id')).toMatch(/\S/);
  });

  it('that every region has applied is told to be confirmed', async () => {
    const told = await edgeAnswering(decided({ appliedIn: [...regionIds] })).write(body);
    expect(told.json).toMatchObject({ outcome: 'confirmed', confirmed: true });
  });

  it('that was to be confirmed and was not in time is told to be committed', async () => {
    const edge = edgeAnswering({ kind: 'unconfirmed', record: recordOf() });
    const told = await edge.write({ ...body, ack: 'confirmed' });
    expect(told.status).toBe(200);
    expect(told.json).toMatchObject({ outcome: 'committed', confirmed: false });
  });

  it('whose check failed gets 412 with what was expected and found', async () => {
    const part = '[1,0,"w"]';
    const edge = edgeAnswering(decided({ outcome: 'rejected', sequence: null, part }));
    const told = await edge.write({ ...body, checks: [{ key: 'c', equals: 'x' }] });
    expect([told.status, problemOf(told)]).toEqual([412, 'check-failed']);
    expect(told.json).toMatchObject({ id: writeId, index: 0, expected: 'x', actual: 'w' });
    expect(told.json.check).toEqual({ key: 'c', equals: 'x' });
  });

  it('whose command failed gets 422 with the error of Redis', async () => {
    const part = '[2,0,"WRONGTYPE Operation against a key"]';
    const told = await edgeAnswering(decided({ outcome: 'rejected', sequence: null, part })).write(
      body,
    );
    expect([told.status, problemOf(told)]).toEqual([422, 'command-failed']);
    expect(told.json).toMatchObject({ index: 0, error: 'WRONGTYPE Operation against a key' });
  });

  it('that a region kept from being decided gets 503 naming the region', async () => {
    const faults = [{ region: 'eu-west-1', reason: 'no answer within 2000 ms' }];
    const reason = 'a vote was missing';
    const told = await edgeAnswering({ kind: 'unavailable', id: writeId, faults, reason }).write(
      body,
    );
    expect([told.status, problemOf(told)]).toEqual([503, 'region-unavailable']);
    expect(told.json.regions).toEqual(faults);
    expect(told.json.detail).toContain('eu-west-1');
    expect(told.headers.get('retry-after')).toBe('1');
  });

  it.each([
    ['too-few-voters', 'too-few-voters'],
    ['diverged', 'key-diverged'],
    ['lost', 'region-lost'],
  ] as const)('that cannot be decided because of %s gets 503 %s', async (code, problem) => {
    const answer = { kind: 'unavailable', id: writeId, faults: [], reason: 'so it is' } as const;
    const told = await edgeAnswering({ ...answer, code }).write(body);
    expect([told.status, problemOf(told)]).toEqual([503, problem]);
    expect(told.headers.get('retry-after')).toBe('1');
    expect(told.json.detail).toContain('so it is');
  });

  it('that waited out its time behind others gets 503 without a region', async () => {
    const reason = 'its keys were held by other writes';
    const told = await edgeAnswering({
      kind: 'unavailable',
      id: writeId,
      faults: [],
      reason,
    }).write(body);
    expect([told.status, problemOf(told)]).toEqual([503, 'not-decided']);
  });

  it('that arrives after its notAfter gets 422, and is told that nothing was written', async () => {
    const told = await edgeAnswering({ kind: 'too-late', id: writeId }).write(body);
    expect([told.status, problemOf(told)]).toEqual([422, 'not-after-passed']);
    expect(told.json).toMatchObject({ id: writeId, detail: expect.stringMatching(/^Nothing/) });
  });

  it('that finds the queue full gets 429 and when to come back', async () => {
    const told = await edgeAnswering({ kind: 'busy', retryAfterMs: 1_200 }).write(body);
    expect([told.status, problemOf(told)]).toEqual([429, 'too-many-writes']);
    expect(told.headers.get('retry-after')).toBe('2');
  });

  it('that the coordinator refuses is told its reason', async () => {
    const told = await edgeAnswering({
      kind: 'refused',
      problem: 'reserved-key',
      detail: 'why',
    }).write(body);
    expect([told.status, told.json.detail]).toEqual([400, 'why']);
  });

  it('whose coordinator stays unreachable gets 503 saying that its outcome is unknown', async () => {
    const edge = new EdgeUnderTest({
      write: () => Promise.reject(new Error('the object was reset')),
    });
    const told = await edge.write(body);
    expect([told.status, problemOf(told)]).toEqual([503, 'coordinator-unavailable']);
    expect(told.json.detail).toContain('unknown');
    expect(told.json.detail).toContain('Idempotency-Key');
    expect(told.text).not.toContain('the object was reset');
    expect(edge.writes).toHaveLength(1 + limits.resendsPerWrite);
    expect(new Set(edge.logged)).toEqual(new Set(['coordinator did not answer']));
  });

  it('that meets a fault of Lockstep itself gets 500 with the request id, and is logged', async () => {
    const edge = edgeAnswering(decided({ part: '[9]' }));
    const told = await edge.write(body);
    expect([told.status, problemOf(told)]).toEqual([500, 'internal']);
    expect(told.json.instance).toBe(told.headers.get('x-request-id'));
    expect(edge.logged).toEqual(['request failed']);
  });
});

describe('an idempotency key', () => {
  const key = { 'idempotency-key': 'order 7' };

  it('goes along with a digest of operations and checks, and of nothing else', async () => {
    const edge = edgeAnswering(decided());
    await edge.write(body, key);
    await edge.write({ priority: 3, timeoutMs: 500, checks: [], ...body }, key);
    await edge.write({ ops: [['SET', 'k', 'w']] }, key);
    const digests = edge.writes.map(({ idempotency }) => idempotency?.digest);
    expect(edge.writes[0]?.idempotency).toEqual({
      key: 'writer::order 7',
      digest: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    expect(digests[1]).toBe(digests[0]);
    expect(digests[2]).not.toBe(digests[0]);
  });

  it('that was used before with the same request brings the first answer, marked', async () => {
    const told = await edgeAnswering(decided({}, true)).write(body, key);
    expect(told.json.replayed).toBe(true);
    expect(told.headers.get('idempotency-replayed')).toBe('true');
  });

  it('that was used before with another request gets 422', async () => {
    const told = await edgeAnswering({ kind: 'key-reused', id: writeId }).write(body, key);
    expect([told.status, problemOf(told)]).toEqual([422, 'idempotency-key-reused']);
  });
});

describe('Prefer: respond-async', () => {
  const prefer = { prefer: 'wait=10, respond-async' };

  it('is answered 202 with where to ask', async () => {
    const told = await edgeAnswering({ kind: 'accepted', id: writeId }).write(body, prefer);
    expect(told.status).toBe(202);
    expect(told.headers.get('location')).toBe(`/v1/writes/${writeId}`);
    expect(told.headers.get('preference-applied')).toBe('respond-async');
    expect(told.json).toEqual({ id: writeId, outcome: 'pending' });
  });

  it('is answered 200 where the answer is known already', async () => {
    const told = await edgeAnswering(decided({}, true)).write(body, prefer);
    expect([told.status, told.json.outcome]).toEqual([200, 'committed']);
  });
});

describe('the status of a write', () => {
  const path = `/v1/writes/${writeId}`;

  it('tells the recorded outcome and the regions that have applied it', async () => {
    const record = recordOf({ appliedIn: ['us-east-1'] });
    const told = await edgeKnowing({ kind: 'recorded', record, confirmed: false }).ask('GET', path);
    expect(told.status).toBe(200);
    expect(told.json).toMatchObject({
      outcome: 'committed',
      appliedIn: ['us-east-1'],
      results: ['OK'],
    });
    expect(told.json.decidedAt).toBe(new Date(1_795_000_000_000).toISOString());
  });

  it('tells why a write was rejected', async () => {
    const record = recordOf({ outcome: 'rejected', sequence: null, part: '[1,2,null]' });
    const told = await edgeKnowing({ kind: 'recorded', record, confirmed: false }).ask('GET', path);
    expect(told.json).toMatchObject({
      outcome: 'rejected',
      rejection: { type: '/problems/check-failed', index: 2, actual: null },
    });
  });

  it.each([
    [{ kind: 'pending' }, 'pending'],
    [{ kind: 'unavailable', faults: [], reason: 'late', code: null }, 'unavailable'],
    [{ kind: 'unavailable', faults: [], reason: 'few', code: 'too-few-voters' }, 'unavailable'],
  ] as const)('of the kind $kind is told', async (status, outcome) => {
    const told = await edgeKnowing(status).ask('GET', path);
    expect([told.status, told.json.outcome]).toEqual([200, outcome]);
  });

  it('that nobody knows gets 404', async () => {
    const told = await edgeKnowing({ kind: 'unknown' }).ask('GET', path);
    expect([told.status, problemOf(told)]).toEqual([404, 'write-unknown']);
  });

  it('is asked for again where the coordinator was just reset', async () => {
    let asked = 0;
    const status = async (): Promise<WriteStatus> => {
      asked += 1;
      if (asked === 1) throw new Error('the object was reset');
      return { kind: 'pending' };
    };
    const told = await new EdgeUnderTest({ status }).ask('GET', path);
    expect([told.status, asked]).toEqual([200, 2]);
  });

  it('is not asked for again where the coordinator is overloaded', async () => {
    let asked = 0;
    const status = async (): Promise<WriteStatus> => {
      asked += 1;
      throw Object.assign(new Error('busy'), { overloaded: true });
    };
    const told = await new EdgeUnderTest({ status }).ask('GET', path);
    expect([told.status, asked]).toEqual([503, 1]);
  });
});
