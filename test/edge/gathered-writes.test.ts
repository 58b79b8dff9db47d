/** Tests writes of different requests that go to the coordinator in one call. */
import { describe, expect, it } from 'vitest';
import type {
  AnswerGroup,
  GiveAnswers,
  WriteAnswer,
  WriteRequest,
} from '../../shared/contracts/coordinator.ts';
import { limits } from '../../shared/limits.ts';
import { decided, EdgeUnderTest, recordOf } from './fakes.ts';

/** A call with writes of several requests, which the test answers. */
interface GatheredCall {
  readonly requests: readonly WriteRequest[];
  readonly give: GiveAnswers;
  readonly end: (answers: AnswerGroup) => void;
  readonly fail: (error: Error) => void;
}

/** An edge with one write on its way, so that further ones are gathered until the test ends the turn. */
class GatheringEdge extends EdgeUnderTest {
  readonly gatheredCalls: GatheredCall[] = [];
  /** The writes that were sent alone, the first one included. */
  readonly alone: WriteRequest[] = [];
  endTurn: () => void = () => {};
  readonly #first = Promise.withResolvers<WriteAnswer>();

  constructor() {
    super({
      write: async (request) => {
        this.alone.push(request);
        return this.alone.length === 1 ? this.#first.promise : decided({ id: request.id });
      },
      writeGathered: (requests, give) =>
        new Promise((end, fail) => this.gatheredCalls.push({ requests, give, end, fail })),
    });
    this.turn = () => new Promise((resolve) => (this.endTurn = resolve));
  }

  /** Sends a first write, and then the given ones, and ends the turn. Returns the responses of the latter. */
  async gather(...bodies: readonly object[]) {
    void this.write({ ops: [['SET', 'first', '1']] });
    await this.until(() => this.alone.length === 1);
    const turned = this.turn;
    let turns = 0;
    this.turn = () => {
      turns += 1;
      return turned();
    };
    let waits = 0;
    const { withTimeout } = this;
    this.withTimeout = (promise) => {
      waits += 1;
      return withTimeout(promise);
    };
    const responses = bodies.map((body) => this.write(body));
    await this.until(() => waits === bodies.length && turns > 0);
    this.endTurn();
    await this.until(() => this.gatheredCalls.length > 0 || this.alone.length > 1);
    return responses;
  }

  /** The only call with several writes. */
  get call(): GatheredCall {
    const [call] = this.gatheredCalls;
    if (call === undefined) throw new Error('no call was made');
    return call;
  }

  async until(isReached: () => boolean): Promise<void> {
    while (!isReached()) await new Promise((resolve) => setImmediate(resolve));
  }
}

const set = (key: string) => ({ ops: [['SET', key, 'v']] });
const answerTo = ({ id }: WriteRequest, changes: object = {}) => decided({ id, ...changes });

/** The answers to the writes of a call at these positions. */
function groupOf({ requests }: GatheredCall, ...positions: readonly number[]): AnswerGroup {
  return positions.map((at) => {
    const request = requests[at];
    if (request === undefined) throw new Error(`there is no write ${at}`);
    return [at, answerTo(request)] as const;
  });
}

describe('writes that meet in an isolate', () => {
  it('go to the coordinator in one call, and each gets its own answer', async () => {
    const edge = new GatheringEdge();
    const responses = await edge.gather(set('a'), set('b'), set('c'));
    expect(edge.gatheredCalls).toHaveLength(1);
    expect(edge.call.requests.map(({ ops }) => ops[0]?.[1])).toEqual(['a', 'b', 'c']);
    edge.call.end(groupOf(edge.call, 2, 0, 1));
    const ids = (await Promise.all(responses)).map(({ json }) => json.id);
    expect(ids).toEqual(edge.call.requests.map(({ id }) => id));
  });

  it('are answered as soon as their own answer is there, in any order', async () => {
    const edge = new GatheringEdge();
    const [a, b, c] = await edge.gather(set('a'), set('b'), set('c'));
    const { call } = edge;
    await call.give([[1, { kind: 'busy', retryAfterMs: 1_000 }]]);
    expect((await b)?.status).toBe(429);
    await call.give(groupOf(call, 2));
    expect((await c)?.status).toBe(200);
    call.end(groupOf(call, 0));
    expect((await a)?.status).toBe(200);
  });

  it('are answered by the outcome of each alone', async () => {
    const edge = new GatheringEdge();
    const responses = await edge.gather(set('a'), set('b'), set('c'), set('d'));
    const ids = edge.call.requests.map(({ id }) => id);
    edge.call.end([
      [0, { kind: 'decided', record: recordOf({ id: ids[0] ?? '' }), replayed: false }],
      [1, { kind: 'unavailable', id: ids[1] ?? '', faults: [], reason: 'no majority' }],
      [2, { kind: 'refused', problem: 'too-large', detail: 'It is too large.' }],
      [3, { kind: 'full', what: 'writes' }],
    ]);
    const statuses = (await Promise.all(responses)).map(({ status }) => status);
    expect(statuses).toEqual([200, 503, 413, 507]);
  });

  it('are each asked for again alone, under their own id, if the call fails', async () => {
    const edge = new GatheringEdge();
    const responses = await edge.gather(set('a'), set('b'));
    edge.call.fail(new Error('the object was reset'));
    const answered = await Promise.all(responses);
    expect(answered.map(({ status }) => status)).toEqual([200, 200]);
    const again = edge.alone.slice(1);
    expect(again.map((request) => request.again)).toEqual([true, true]);
    expect(again.map(({ id }) => id).toSorted()).toEqual(
      edge.call.requests.map(({ id }) => id).toSorted(),
    );
    expect(edge.gatheredCalls).toHaveLength(1);
  });

  it('are asked for again only as far as they had no answer when the call failed', async () => {
    const edge = new GatheringEdge();
    const [a, b] = await edge.gather(set('a'), set('b'));
    await edge.call.give(groupOf(edge.call, 0));
    expect((await a)?.status).toBe(200);
    edge.call.fail(new Error('the object was reset'));
    expect((await b)?.status).toBe(200);
    expect(edge.alone.slice(1).map(({ id }) => id)).toEqual([edge.call.requests[1]?.id]);
  });

  it('are asked for again if the call ends without their answer, or does not end', async () => {
    const edge = new GatheringEdge();
    const [a, b] = await edge.gather(set('a'), set('b'));
    edge.call.end(groupOf(edge.call, 0));
    expect([(await a)?.status, (await b)?.status]).toEqual([200, 200]);
    expect(edge.alone.slice(1).map(({ again }) => again)).toEqual([true]);

    const stuck = new GatheringEdge();
    const responses = await stuck.gather(set('a'), set('b'));
    stuck.endWaits();
    expect((await Promise.all(responses)).map(({ status }) => status)).toEqual([200, 200]);
    const again = stuck.alone.filter((request) => request.again).map(({ id }) => id);
    for (const { id } of stuck.call.requests) expect(again).toContain(id);
  });

  it('do not go again to a coordinator that is overloaded', async () => {
    const edge = new GatheringEdge();
    const responses = await edge.gather(set('a'), set('b'));
    edge.call.fail(Object.assign(new Error('overloaded'), { overloaded: true }));
    expect((await Promise.all(responses)).map(({ status }) => status)).toEqual([503, 503]);
    expect(edge.alone).toHaveLength(1);
  });

  it('go alone if they are long', async () => {
    const edge = new GatheringEdge();
    void edge.write({ ops: [['SET', 'first', '1']] });
    await edge.until(() => edge.alone.length === 1);
    const long = { ops: [['SET', 'k', 'x'.repeat(limits.sharedWriteLength)]] };
    expect((await edge.write(long)).status).toBe(200);
    expect(edge.alone).toHaveLength(2);
  });

  it('begin another call beyond the bound of one', async () => {
    const edge = new GatheringEdge();
    const value = 'x'.repeat(limits.sharedWriteLength - 100);
    const fitting = Math.floor(limits.writeCallLength / (limits.sharedWriteLength - 100));
    const bodies = Array.from({ length: fitting + 2 }, (_, at) => ({
      ops: [['SET', `k${at}`, value]],
    }));
    const ends: (() => void)[] = [];
    edge.turn = () => new Promise((resolve) => ends.push(resolve));
    void edge.write({ ops: [['SET', 'first', '1']] });
    await edge.until(() => edge.alone.length === 1);
    const responses = bodies.map((body) => edge.write(body));
    await edge.until(() => ends.length === 2);
    for (const end of ends) end();
    await edge.until(() => edge.gatheredCalls.length === 2);
    expect(edge.gatheredCalls[0]?.requests).toHaveLength(fitting);
    for (const call of edge.gatheredCalls) call.end(groupOf(call, ...call.requests.keys()));
    const statuses = (await Promise.all(responses)).map(({ status }) => status);
    expect(new Set(statuses)).toEqual(new Set([200]));
  });

  it('of the Upstash dialect are gathered too, and a pipeline keeps its own call', async () => {
    const edge = new GatheringEdge();
    void edge.write({ ops: [['SET', 'first', '1']] });
    await edge.until(() => edge.alone.length === 1);
    const ends: (() => void)[] = [];
    edge.turn = () => new Promise((resolve) => ends.push(resolve));
    const lone = edge.ask('POST', '/', { body: ['SET', 'a', '1'] });
    await edge.until(() => ends.length === 1);
    const pipeline = [
      ['SET', 'b', '1'],
      ['SET', 'b', '2'],
    ];
    expect((await edge.ask('POST', '/pipeline', { body: pipeline })).status).toBe(200);
    expect(edge.batches).toEqual([2]);
    for (const end of ends) end();
    expect((await lone).status).toBe(200);
    expect(edge.gathered).toEqual([]);
  });
});
