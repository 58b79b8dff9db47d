/** Tests the route of writes: each outcome of the coordinator and its response. */
import { describe, expect, it } from 'vitest';
import type { WriteAnswer, WriteStatus } from '../../shared/contracts/coordinator.ts';
import { limits } from '../../shared/limits.ts';
import { decided, EdgeUnderTest, problemOf, recordOf, regionIds, writeId } from './fakes.ts';

const body = { ops: [['SET', 'k', 'v']] };

function edgeAnswering(answer: WriteAnswer): EdgeUnderTest {
  return new EdgeUnderTest({ write: async () => answer, accept: async () => answer });
}

function edgeKnowing(status: WriteStatus): EdgeUnderTest {
  return new EdgeUnderTest({ status: async () => status });
}

describe('a write', () => {
  it('reaches the coordinator in canonical form, with defaults', async () => {
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

  it('returns its results and votes if it was committed', async () => {
    const part =
      '[0,{"s":"OK"},9223372036854775807,null,["a",null,{"e":"ERR x"}],"\u00c3\u00a9","\u00ff"]';
    const response = await edgeAnswering(decided({ part })).write(body);
    expect(response.status).toBe(200);
    expect(response.text).toContain('9223372036854775807');
    expect(response.json).toMatchObject({
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
    const results = response.json.results;
    expect(results).toEqual([
      'OK',
      '9223372036854775807',
      null,
      ['a', null, { error: 'ERR x' }],
      'é',
      '\ufffd',
    ]);
    expect(response.headers.get('server-timing')).toMatch(
      /^parse;dur=0, coordinator;dur=0, vote;desc="us-east-1";dur=2/,
    );
    expect(response.headers.get('x-request-id')).toMatch(/\S/);
  });

  it('is returned as confirmed after every region has applied it', async () => {
    const response = await edgeAnswering(decided({ appliedIn: [...regionIds] })).write(body);
    expect(response.json).toMatchObject({ outcome: 'confirmed', confirmed: true });
  });

  it('is returned as committed if its confirmation was late', async () => {
    const edge = edgeAnswering({ kind: 'unconfirmed', record: recordOf() });
    const response = await edge.write({ ...body, ack: 'confirmed' });
    expect(response.status).toBe(200);
    expect(response.json).toMatchObject({ outcome: 'committed', confirmed: false });
  });

  it('returns 412 with the expected and the actual value if its check failed', async () => {
    const part = '[1,0,"w"]';
    const edge = edgeAnswering(decided({ outcome: 'rejected', sequence: null, part }));
    const response = await edge.write({ ...body, checks: [{ key: 'c', equals: 'x' }] });
    expect([response.status, problemOf(response)]).toEqual([412, 'check-failed']);
    expect(response.json).toMatchObject({ id: writeId, index: 0, expected: 'x', actual: 'w' });
    expect(response.json.check).toEqual({ key: 'c', equals: 'x' });
  });

  it('returns 422 with the error of Redis if its command failed', async () => {
    const part = '[2,0,"WRONGTYPE Operation against a key"]';
    const response = await edgeAnswering(
      decided({ outcome: 'rejected', sequence: null, part }),
    ).write(body);
    expect([response.status, problemOf(response)]).toEqual([422, 'command-failed']);
    expect(response.json).toMatchObject({ index: 0, error: 'WRONGTYPE Operation against a key' });
  });

  it('returns 503 naming the region that prevented the decision', async () => {
    const faults = [{ region: 'eu-west-1', reason: 'no answer within 2000 ms' }];
    const reason = 'a vote was missing';
    const response = await edgeAnswering({
      kind: 'unavailable',
      id: writeId,
      faults,
      reason,
    }).write(body);
    expect([response.status, problemOf(response)]).toEqual([503, 'region-unavailable']);
    expect(response.json.regions).toEqual(faults);
    expect(response.json.detail).toContain('eu-west-1');
    expect(response.headers.get('retry-after')).toBe('1');
  });

  it.each([
    ['too-few-voters', 'too-few-voters'],
    ['diverged', 'key-diverged'],
    ['lost', 'region-lost'],
  ] as const)('that cannot be decided because of %s returns 503 %s', async (code, problem) => {
    const answer = { kind: 'unavailable', id: writeId, faults: [], reason: 'so it is' } as const;
    const response = await edgeAnswering({ ...answer, code }).write(body);
    expect([response.status, problemOf(response)]).toEqual([503, problem]);
    expect(response.headers.get('retry-after')).toBe('1');
    expect(response.json.detail).toContain('so it is');
  });

  it('returns 503 without a region if it waited too long behind other writes', async () => {
    const reason = 'its keys were held by other writes';
    const response = await edgeAnswering({
      kind: 'unavailable',
      id: writeId,
      faults: [],
      reason,
    }).write(body);
    expect([response.status, problemOf(response)]).toEqual([503, 'not-decided']);
  });

  it('returns 422 after its notAfter, and reports that nothing was written', async () => {
    const response = await edgeAnswering({ kind: 'too-late', id: writeId }).write(body);
    expect([response.status, problemOf(response)]).toEqual([422, 'not-after-passed']);
    expect(response.json).toMatchObject({ id: writeId, detail: expect.stringMatching(/^Nothing/) });
  });

  it('returns 429 and the time to retry if the queue is full', async () => {
    const response = await edgeAnswering({ kind: 'busy', retryAfterMs: 1_200 }).write(body);
    expect([response.status, problemOf(response)]).toEqual([429, 'too-many-writes']);
    expect(response.headers.get('retry-after')).toBe('2');
  });

  it('returns the reason if the coordinator refuses it', async () => {
    const response = await edgeAnswering({
      kind: 'refused',
      problem: 'reserved-key',
      detail: 'why',
    }).write(body);
    expect([response.status, response.json.detail]).toEqual([400, 'why']);
  });

  it('returns 503 with an unknown outcome if the coordinator stays unreachable', async () => {
    const edge = new EdgeUnderTest({
      write: () => Promise.reject(new Error('the object was reset')),
    });
    const response = await edge.write(body);
    expect([response.status, problemOf(response)]).toEqual([503, 'coordinator-unavailable']);
    expect(response.json.detail).toContain('unknown');
    expect(response.json.detail).toContain('Idempotency-Key');
    expect(response.text).not.toContain('the object was reset');
    expect(edge.writes).toHaveLength(1 + limits.resendsPerWrite);
    expect(new Set(edge.logged)).toEqual(new Set(['coordinator did not answer']));
  });

  it('returns 500 with the request id for a fault of Lockstep, and logs it', async () => {
    const edge = edgeAnswering(decided({ part: '[9]' }));
    const response = await edge.write(body);
    expect([response.status, problemOf(response)]).toEqual([500, 'internal']);
    expect(response.json.instance).toBe(response.headers.get('x-request-id'));
    expect(edge.logged).toEqual(['request failed']);
  });
});

describe('an idempotency key', () => {
  const key = { 'idempotency-key': 'order 7' };

  it('is sent with a digest of operations and checks, and of nothing else', async () => {
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

  it('returns the first response, marked as replayed, for the same request', async () => {
    const response = await edgeAnswering(decided({}, true)).write(body, key);
    expect(response.json.replayed).toBe(true);
    expect(response.headers.get('idempotency-replayed')).toBe('true');
  });

  it('is refused with 422 for another request', async () => {
    const response = await edgeAnswering({ kind: 'key-reused', id: writeId }).write(body, key);
    expect([response.status, problemOf(response)]).toEqual([422, 'idempotency-key-reused']);
  });
});

describe('Prefer: respond-async', () => {
  const prefer = { prefer: 'wait=10, respond-async' };

  it('returns 202 with the address of the write’s status', async () => {
    const response = await edgeAnswering({ kind: 'accepted', id: writeId }).write(body, prefer);
    expect(response.status).toBe(202);
    expect(response.headers.get('location')).toBe(`/v1/writes/${writeId}`);
    expect(response.headers.get('preference-applied')).toBe('respond-async');
    expect(response.json).toEqual({ id: writeId, outcome: 'pending' });
  });

  it('returns 200 if the outcome is known already', async () => {
    const response = await edgeAnswering(decided({}, true)).write(body, prefer);
    expect([response.status, response.json.outcome]).toEqual([200, 'committed']);
  });
});

describe('the status of a write', () => {
  const path = `/v1/writes/${writeId}`;

  it('returns the recorded outcome and the regions that have applied it', async () => {
    const record = recordOf({ appliedIn: ['us-east-1'] });
    const response = await edgeKnowing({ kind: 'recorded', record, confirmed: false }).ask(
      'GET',
      path,
    );
    expect(response.status).toBe(200);
    expect(response.json).toMatchObject({
      outcome: 'committed',
      appliedIn: ['us-east-1'],
      results: ['OK'],
    });
    expect(response.json.decidedAt).toBe(new Date(1_795_000_000_000).toISOString());
  });

  it('returns the reason why a write was rejected', async () => {
    const record = recordOf({ outcome: 'rejected', sequence: null, part: '[1,2,null]' });
    const response = await edgeKnowing({ kind: 'recorded', record, confirmed: false }).ask(
      'GET',
      path,
    );
    expect(response.json).toMatchObject({
      outcome: 'rejected',
      rejection: { type: '/problems/check-failed', index: 2, actual: null },
    });
  });

  it.each([
    [{ kind: 'pending' }, 'pending'],
    [{ kind: 'unavailable', faults: [], reason: 'late', code: null }, 'unavailable'],
    [{ kind: 'unavailable', faults: [], reason: 'few', code: 'too-few-voters' }, 'unavailable'],
  ] as const)('returns the kind $kind', async (status, outcome) => {
    const response = await edgeKnowing(status).ask('GET', path);
    expect([response.status, response.json.outcome]).toEqual([200, outcome]);
  });

  it('returns 404 if the write is unknown', async () => {
    const response = await edgeKnowing({ kind: 'unknown' }).ask('GET', path);
    expect([response.status, problemOf(response)]).toEqual([404, 'write-unknown']);
  });

  it('is requested again if the coordinator was just reset', async () => {
    let asked = 0;
    const status = async (): Promise<WriteStatus> => {
      asked += 1;
      if (asked === 1) throw new Error('the object was reset');
      return { kind: 'pending' };
    };
    const response = await new EdgeUnderTest({ status }).ask('GET', path);
    expect([response.status, asked]).toEqual([200, 2]);
  });

  it('is not requested again if the coordinator is overloaded', async () => {
    let asked = 0;
    const status = async (): Promise<WriteStatus> => {
      asked += 1;
      throw Object.assign(new Error('busy'), { overloaded: true });
    };
    const response = await new EdgeUnderTest({ status }).ask('GET', path);
    expect([response.status, asked]).toEqual([503, 1]);
  });
});
