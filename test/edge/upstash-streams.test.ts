/** Tests SUBSCRIBE and MONITOR of the Upstash dialect against fake streams. */
import { describe, expect, it } from 'vitest';
import type { RegionStreamResult } from '../../functions/region/subscribe.ts';
import { limits } from '../../shared/limits.ts';
import { EdgeUnderTest, FakeFeed, regionIds, statusWith, tokens } from './fakes.ts';
import { post } from './upstash-requests.ts';

/** A region's stream, controlled by the test. */
class FakeRegionStream {
  readonly #controller: ReadableStreamDefaultController<Uint8Array>;
  readonly #body: ReadableStream<Uint8Array>;
  isLeft = false;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<void>();
    let opened: ReadableStreamDefaultController<Uint8Array> | null = null;
    this.#body = new ReadableStream({
      start: (controller) => {
        opened = controller;
      },
      cancel: () => {
        this.isLeft = true;
        resolve();
      },
    });
    if (opened === null) throw new Error('the stream has no controller');
    this.#controller = opened;
    this.left = promise;
  }

  /** Fulfilled once the edge has ended it. */
  readonly left: Promise<void>;

  /** The open stream, with its first chunk. */
  open(first: string): RegionStreamResult {
    const rest = this.#body.getReader();
    return { kind: 'open', first: new TextEncoder().encode(first), rest };
  }

  say(text: string): void {
    this.#controller.enqueue(new TextEncoder().encode(text));
  }

  end(): void {
    this.#controller.close();
  }

  break(): void {
    this.#controller.error(new Error('the connection is gone'));
  }
}

async function open(edge: EdgeUnderTest, path: string, token: string = tokens.read) {
  const headers = { authorization: `Bearer ${token}` };
  const response = await edge.app.request(path, { method: 'POST', headers, body: '[]' });
  if (response.body === null) throw new Error('the response has no body');
  const reader: ReadableStreamDefaultReader<Uint8Array> = response.body.getReader();
  const next = async () => {
    const { done, value } = await reader.read();
    return done ? null : new TextDecoder().decode(value);
  };
  return { response, next, leave: () => reader.cancel() };
}

/** An edge with one stream in its nearest region. */
function edgeWithStream(first = 'data: subscribe,a,1\n\n') {
  const edge = new EdgeUnderTest();
  const stream = new FakeRegionStream();
  const asked: unknown[] = [];
  edge.subscribe = async ({ id }, subscription) => {
    asked.push([id, subscription]);
    return stream.open(first);
  };
  return { edge, stream, asked };
}

describe('a subscription', () => {
  it('is opened in the nearest region and forwarded', async () => {
    const { edge, stream, asked } = edgeWithStream();
    edge.location = [53, -6];
    const { response, next } = await open(edge, '/subscribe/a/b%2Fc');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(response.headers.get('lockstep-region')).toBe('eu-west-1');
    expect(asked).toEqual([['eu-west-1', { kind: 'subscribe', names: ['a', 'b/c'] }]]);
    expect(await next()).toBe('data: subscribe,a,1\n\n');
    stream.say(': a comment\n\ndata: message,a,x\n\ndata: message,other,x\n\n');
    expect(await next()).toBe('data: message,a,x\n\n');
    stream.end();
    expect(await next()).toBeNull();
    expect(edge.logged).toEqual([]);
  });

  it('goes to the next region if the first does not answer, and to none without a vote', async () => {
    const { edge, stream } = edgeWithStream();
    const asked: string[] = [];
    edge.coordinator.describe = async () => statusWith({ 'us-east-1': { state: 'copying' } });
    const late = new EdgeUnderTest(edge.coordinator);
    late.subscribe = async ({ id }) => {
      asked.push(id);
      if (id === 'eu-west-1') return { kind: 'silent', reason: 'no answer in time' };
      return stream.open('data: subscribe,a,1\n\n');
    };
    const { response } = await open(late, '/subscribe/a');
    expect(response.headers.get('lockstep-region')).toBe('ap-northeast-1');
    expect(asked).toEqual(['eu-west-1', 'ap-northeast-1']);
  });

  it('gets 503 with each region’s reason if none streams', async () => {
    const edge = new EdgeUnderTest();
    edge.subscribe = async () => ({ kind: 'silent', reason: 'it answered 400: no' });
    const response = await post(edge, '/subscribe/a', '[]');
    expect(response.status).toBe(503);
    for (const region of regionIds) {
      expect(response.json.error).toContain(`${region}: it answered 400: no`);
    }
  });

  it('sends heartbeats while it is idle, and loses no message', async () => {
    const { edge, stream } = edgeWithStream();
    const beats: (() => void)[] = [];
    edge.beat = () => new Promise((resolve) => beats.push(resolve));
    const { next } = await open(edge, '/subscribe/a');
    expect(await next()).toBe('data: subscribe,a,1\n\n');
    const second = next();
    beats[0]?.();
    expect(await second).toBe(': heartbeat\n\n');
    const third = next();
    stream.say('data: message,a,x\n\n');
    expect(await third).toBe('data: message,a,x\n\n');
    expect(beats).toHaveLength(2);
  });

  it('ends once its region loses its vote, since it would miss messages', async () => {
    const { edge, stream } = edgeWithStream();
    let status = statusWith();
    edge.coordinator.describe = async () => status;
    const fresh = new EdgeUnderTest(edge.coordinator);
    fresh.subscribe = edge.subscribe;
    const beats: (() => void)[] = [];
    fresh.beat = () => new Promise((resolve) => beats.push(resolve));
    const { next } = await open(fresh, '/subscribe/a');
    await next();
    status = statusWith({ 'us-east-1': { state: 'out' } });
    fresh.now += limits.directoryStreamStaleMs;
    const last = next();
    beats[0]?.();
    expect(await last).toBeNull();
    await stream.left;
  });

  it('ends in the region when its client leaves', async () => {
    const { edge, stream } = edgeWithStream();
    const { next, leave } = await open(edge, '/subscribe/a');
    await next();
    expect(stream.isLeft).toBe(false);
    await leave();
    await stream.left;
  });

  it.each([
    ['breaks', (stream: FakeRegionStream) => stream.break()],
    [
      'has a line without an end',
      (stream: FakeRegionStream) => stream.say('x'.repeat(limits.streamLineCharacters + 1)),
    ],
  ])('ends cleanly if the region’s stream %s', async (_name, fail) => {
    const { edge, stream } = edgeWithStream();
    const { next } = await open(edge, '/subscribe/a');
    await next();
    fail(stream);
    expect(await next()).toBeNull();
  });

  it.each([
    ['/subscribe', 400],
    ['/subscribe/lockstep:x', 400],
    [`/subscribe${'/a'.repeat(limits.channelsPerStream + 1)}`, 400],
  ])('%.40s is refused with %i, and no region is called', async (path, status) => {
    const response = await post(new EdgeUnderTest(), path, '[]');
    expect([response.status, response.json]).toEqual([
      status,
      { error: expect.stringMatching(/^ERR /) },
    ]);
  });

  it('needs a token, and refuses HEAD', async () => {
    const edge = new EdgeUnderTest();
    expect((await post(edge, '/subscribe/a', '[]', { token: null })).status).toBe(401);
    expect((await edge.ask('HEAD', '/subscribe/a')).status).toBe(405);
  });

  it('is refused beyond the streams of an isolate, until one ends', async () => {
    const { edge } = edgeWithStream();
    const streams: FakeRegionStream[] = [];
    edge.subscribe = async () => {
      const stream = new FakeRegionStream();
      streams.push(stream);
      return stream.open('data: subscribe,a,1\n\n');
    };
    const opened = [];
    for (let count = 0; count < limits.streamsPerIsolate; count += 1) {
      opened.push(await open(edge, '/subscribe/a'));
    }
    const refused = await post(edge, '/subscribe/a', '[]');
    expect([refused.status, refused.json.error]).toEqual([
      429,
      expect.stringContaining('too many streams'),
    ]);
    await opened[0]?.leave();
    expect((await open(edge, '/subscribe/a')).response.status).toBe(200);
    // After a while, streams without a noticed end no longer count.
    edge.now += 4 * limits.heartbeatMs;
    expect((await open(edge, '/subscribe/a')).response.status).toBe(200);
  });
});

describe('a monitor', () => {
  const change = (sequence: number, commands: readonly (readonly string[])[]) => ({
    sequence,
    at: '2026-11-22T10:00:00.042Z',
    keys: [],
    commands,
  });

  it('begins with OK, and sends each command of each write', async () => {
    const edge = new EdgeUnderTest();
    const feed = new FakeFeed([
      { heartbeat: true, next: 6 },
      {
        changes: [
          change(7, [
            ['SET', 'k', 'v\n"'],
            ['PUBLISH', 'c', '\udcff'],
          ]),
        ],
        next: 7,
      },
      { changes: [change(8, [['DEL', 'é']])], next: 8 },
    ]);
    edge.feed = feed;
    const { response, next } = await open(edge, '/monitor', tokens.write);
    expect(response.status).toBe(200);
    expect(feed.followed).toEqual([{ since: null, prefixes: [], values: true, members: false }]);
    const moment = `${Date.parse('2026-11-22T10:00:00Z') / 1_000}.042000 [0 0.0.0.0:0]`;
    expect(await next()).toBe('data: "OK"\n\n');
    expect(await next()).toBe(
      `data: ${moment} "SET" "k" "v\\n\\""\n\ndata: ${moment} "PUBLISH" "c" "\\xff"\n\n`,
    );
    expect(await next()).toBe(`data: ${moment} "DEL" "\\xc3\\xa9"\n\n`);
    expect(await next()).toBeNull();
    expect(feed.acknowledged).toEqual([6, 7, 8]);
    await feed.closed;
  });

  it('leaves the feed when its client leaves', async () => {
    const edge = new EdgeUnderTest();
    const feed = new FakeFeed([], null);
    edge.feed = feed;
    const { next, leave } = await open(edge, '/monitor', tokens.admin);
    await next();
    await leave();
    await feed.closed;
  });

  it('is refused for a token that only reads, and if the feed is unreachable', async () => {
    const edge = new EdgeUnderTest();
    const read = await post(edge, '/monitor', '', { token: tokens.read });
    expect([read.status, read.json.error]).toEqual([400, expect.stringContaining('NOPERM')]);
    edge.feed = {
      upgrade: async () => new Response(),
      open: async () => {
        throw new Error('away');
      },
    };
    const away = await post(edge, '/monitor', '');
    expect([away.status, away.json.error]).toEqual([503, expect.stringContaining('feed')]);
  });
});
