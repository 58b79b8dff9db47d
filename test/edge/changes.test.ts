/** Tests the change feed at the edge: pages, event streams and WebSockets. test/feed tests the feed itself. */
import { describe, expect, it } from 'vitest';
import type { Feed } from '../../functions/edge/http/dependencies.ts';
import type {
  Change,
  ChangesAnswer,
  ChangesQuery,
} from '../../shared/contracts/webhooks-and-feed.ts';
import { feedCloseCodes } from '../../shared/http/feed-messages.ts';
import { EdgeUnderTest, FakeFeed, problemOf, tokens, writeId } from './fakes.ts';

const events = { accept: 'text/event-stream' };
const websocket = { upgrade: 'websocket', connection: 'Upgrade' };
const newest = 12;

function change(sequence: number, more: Partial<Change> = {}): Change {
  const at = 1_795_000_000_000;
  return { sequence, id: writeId, transaction: `0.1.${sequence}`, at, keys: ['k'], ...more };
}

/** A coordinator with the changes 5 to 12, and the feed. */
function edgeWith(feed: Feed = new FakeFeed(), changes: readonly Change[] = []): EdgeUnderTest {
  const edge = new EdgeUnderTest();
  edge.feed = feed;
  edge.coordinator = {
    changes: async ({ since }: ChangesQuery): Promise<ChangesAnswer> => {
      if (since < 4) return { kind: 'expired', oldest: 5 };
      if (since > newest) return { kind: 'ahead', newest };
      return { kind: 'page', changes, next: changes.at(-1)?.sequence ?? newest, newest };
    },
  };
  return edge;
}

function askedOf(edge: EdgeUnderTest): readonly unknown[] {
  return edge.calls.map(([, , query]) => query);
}

describe('a page of changes', () => {
  it('contains the changes, the position after them, and the newest position', async () => {
    const edge = edgeWith(new FakeFeed(), [change(5), change(6, { keys: ['a', 'b'] })]);
    const path = '/v1/changes?since=4&limit=2&prefix=a&prefix=k&values=false';
    const response = await edge.ask('GET', path, { token: tokens.read });
    expect(response.status).toBe(200);
    expect(response.headers.get('cache-control')).toBe('no-store');
    const at = new Date(1_795_000_000_000).toISOString();
    expect(response.json).toEqual({
      changes: [
        { sequence: 5, id: writeId, transaction: '0.1.5', at, keys: ['k'] },
        { sequence: 6, id: writeId, transaction: '0.1.6', at, keys: ['a', 'b'] },
      ],
      next: 6,
      newest,
    });
    expect(askedOf(edge)).toEqual([
      { since: 4, limit: 2, prefixes: ['a', 'k'], values: false, members: false },
    ]);
  });

  it('contains commands and results on request, and integers with all digits', async () => {
    const part = '[0,{"s":"OK"},9223372036854775807,"\u00c3\u00a9",[null]]';
    const commands = [['SET', 'k', '1']];
    const edge = edgeWith(new FakeFeed(), [change(5, { commands, part })]);
    const response = await edge.ask('GET', '/v1/changes?since=4&values=true');
    expect(response.text).toContain('"commands":[["SET","k","1"]]');
    expect(response.text).toContain('"results":["OK","9223372036854775807","é",[null]]');
    expect(askedOf(edge)).toMatchObject([{ values: true, limit: 100 }]);
  });

  it('contains changes of members on request', async () => {
    const fixed = { region: 'eu-west-1', event: 'out', epoch: 2, cause: 'silent' } as const;
    const at = 1_795_000_000_000;
    const member = { ...fixed, sequence: 6, at, detail: 'no answer for 3 s' };
    const bare = { id: '', transaction: '', keys: [] };
    const edge = edgeWith(new FakeFeed(), [change(6, { ...bare, member })]);
    const response = await edge.ask('GET', '/v1/changes?since=5&members=true');
    expect(response.json.changes).toEqual([
      {
        sequence: 6,
        at: new Date(at).toISOString(),
        member: { ...fixed, detail: 'no answer for 3 s' },
      },
    ]);
    expect(askedOf(edge)).toMatchObject([{ members: true }]);
  });

  it('is empty without a position, and names the newest', async () => {
    const response = await edgeWith().ask('GET', '/v1/changes');
    expect([response.status, response.json]).toEqual([200, { changes: [], next: newest, newest }]);
  });

  it('returns 410 for an expired position, with the oldest position and the way to resume', async () => {
    const response = await edgeWith().ask('GET', '/v1/changes?since=0');
    expect([response.status, problemOf(response), response.json.oldest]).toEqual([
      410,
      'changes-expired',
      5,
    ]);
    expect(response.json.detail).toMatch(/once without `since`, then read .+ again, then continue/);
  });

  it('returns 400 for a position that does not exist yet', async () => {
    const response = await edgeWith().ask('GET', '/v1/changes?since=13');
    expect([response.status, problemOf(response)]).toEqual([400, 'invalid-request']);
    expect(response.json.newest).toBe(newest);
  });

  it('is requested again if the coordinator was just reset', async () => {
    const edge = edgeWith();
    const changes = edge.coordinator.changes;
    edge.coordinator.changes = async (query) => {
      edge.coordinator = { ...(changes && { changes }) };
      throw new Error(`the object was reset at ${query.since}`);
    };
    expect((await edge.ask('GET', '/v1/changes?since=5')).status).toBe(200);
  });

  it.each([
    ['since=-1'],
    ['since='],
    ['since=1.5'],
    ['since=1e3'],
    ['since=99999999999999999999'],
    ['since=9007199254740993'],
    ['since=1&since=2'],
    ['limit=0'],
    ['limit=1001'],
    ['limit=ten'],
    ['values=yes'],
    ['members=1'],
    ['prefix='],
    [`prefix=${'a&prefix='.repeat(32)}a`],
    ['sinse=4'],
    ['__proto__=4'],
  ])('refuses the query %s', async (query) => {
    const edge = edgeWith();
    const response = await edge.ask('GET', `/v1/changes?${query}`);
    expect([response.status, problemOf(response)]).toEqual([400, 'invalid-request']);
    expect(edge.calls).toEqual([]);
  });
});

describe('a token in the query', () => {
  it('is accepted for changes, which browsers open without headers', async () => {
    const response = await edgeWith().ask('GET', `/v1/changes?_token=${tokens.read}`, {
      token: null,
    });
    expect(response.status).toBe(200);
  });

  it('is refused with 401 if it is wrong', async () => {
    const response = await edgeWith().ask('GET', '/v1/changes?_token=guess', { token: null });
    expect(response.status).toBe(401);
  });

  it('is not accepted for other addresses', async () => {
    for (const path of ['/v1/regions', '/v1/webhooks']) {
      const response = await edgeWith().ask('GET', `${path}?_token=${tokens.read}`, {
        token: null,
      });
      expect(response.status).toBe(401);
    }
  });
});

describe('the event stream', () => {
  it('begins with a position and sends each change as an event', async () => {
    const changes = [change(6), change(7)];
    const feed = new FakeFeed([{ changes, next: 7 }]);
    const response = await edgeWith(feed).ask('GET', '/v1/changes?since=5', { headers: events });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(response.headers.get('cache-control')).toBe('no-store, no-transform');
    expect(response.text.split('\n\n')).toEqual([
      'retry: 1000\nid: 5',
      `id: 6\nevent: change\ndata: ${JSON.stringify(changes[0])}`,
      `id: 7\nevent: change\ndata: ${JSON.stringify(changes[1])}`,
      ': closed',
      '',
    ]);
  });

  it('advances the position past changes that the client filters out, without an event', async () => {
    const feed = new FakeFeed([
      { changes: [], next: 8 },
      { changes: [change(9)], next: 11 },
      { heartbeat: true, next: 12 },
    ]);
    const path = '/v1/changes?since=5&prefix=k';
    const response = await edgeWith(feed).ask('GET', path, { headers: events });
    expect(response.text.split('\n\n').slice(1, -2)).toEqual([
      'id: 8',
      expect.stringMatching(/^id: 9\nevent: change\n/),
      'id: 11',
      ': heartbeat\nid: 12',
    ]);
    expect(feed.followed).toEqual([{ since: 5, prefixes: ['k'], values: false, members: false }]);
  });

  it('keeps a change on one line, with every digit', async () => {
    const text =
      '{"changes":[{"sequence":6,"results":[9223372036854775807,"a\\nid: 99\\r\\n\\n"]}],"next":6}';
    const feed = new FakeFeed([text]);
    const response = await edgeWith(feed).ask('GET', '/v1/changes?since=5&values=true', {
      headers: events,
    });
    const data = '{"sequence":6,"results":["9223372036854775807","a\\nid: 99\\r\\n\\n"]}';
    expect(response.text).toContain(`id: 6\nevent: change\ndata: ${data}\n\n`);
    expect(response.text.match(/^id: /gm)).toHaveLength(2);
  });

  it('resumes after Last-Event-ID, and ignores since', async () => {
    const feed = new FakeFeed();
    const headers = { ...events, 'last-event-id': '9' };
    await edgeWith(feed).ask('GET', '/v1/changes?since=5', { headers });
    expect(feed.followed).toMatchObject([{ since: 9 }]);
  });

  it('begins at the newest change if the request has no position', async () => {
    const feed = new FakeFeed();
    await edgeWith(feed).ask('GET', '/v1/changes', { headers: events });
    expect(feed.followed).toMatchObject([{ since: newest }]);
  });

  it('is not opened at a position that has expired, lies ahead, or is malformed', async () => {
    const feed = new FakeFeed();
    for (const [place, status] of [
      ['0', 410],
      ['13', 400],
      ['x', 400],
    ] as const) {
      const headers = { ...events, 'last-event-id': place };
      const response = await edgeWith(feed).ask('GET', '/v1/changes', { headers });
      expect(response.status).toBe(status);
      if (status === 400) expect(response.json.detail).toContain('Last-Event-ID');
    }
    expect(feed.followed).toEqual([]);
  });

  it('acknowledges changes only after it has written them', async () => {
    const feed = new FakeFeed([
      { changes: [change(6)], next: 6 },
      { changes: [change(7)], next: 7 },
    ]);
    const edge = edgeWith(feed);
    const headers = { authorization: `Bearer ${tokens.read}`, ...events };
    const response = await edge.app.request('/v1/changes?since=5', { headers });
    const reader = response.body?.getReader();
    await reader?.read();
    await reader?.read();
    expect(feed.acknowledged).toEqual([]);
    await reader?.read();
    expect(feed.acknowledged).toEqual([6]);
    await reader?.read();
    expect(feed.acknowledged).toEqual([6, 7]);
  });

  it('ends its connection to the feed when the client leaves', async () => {
    const feed = new FakeFeed([{ changes: [change(6)], next: 6 }], null);
    const headers = { authorization: `Bearer ${tokens.read}`, ...events };
    const response = await edgeWith(feed).app.request('/v1/changes?since=5', { headers });
    const reader = response.body?.getReader();
    await reader?.read();
    await reader?.cancel();
    await feed.closed;
  });

  it('ends with a position to resume from if the client is too slow', async () => {
    const feed = new FakeFeed([{ changes: [change(6)], next: 6 }], feedCloseCodes.slow);
    const response = await edgeWith(feed).ask('GET', '/v1/changes?since=5', { headers: events });
    expect(response.text.split('\n\n').at(-2)).toBe(': too slow');
    expect(response.text.match(/^id: \d+$/gm)?.at(-1)).toBe('id: 6');
  });

  it('ends with a problem if its position expires meanwhile', async () => {
    const feed = new FakeFeed([], feedCloseCodes.expired);
    const response = await edgeWith(feed).ask('GET', '/v1/changes?since=5', { headers: events });
    const data = /event: problem\ndata: (.*)\n\n$/.exec(response.text)?.[1] ?? '{}';
    expect(JSON.parse(data)).toMatchObject({ type: '/problems/changes-expired', status: 410 });
  });

  it('returns 503 if the feed is unreachable', async () => {
    const feed = new FakeFeed();
    feed.open = () => Promise.reject(new Error('the object was reset'));
    const response = await edgeWith(feed).ask('GET', '/v1/changes', { headers: events });
    expect([response.status, problemOf(response)]).toEqual([503, 'feed-unavailable']);
    expect(response.headers.get('retry-after')).toBe('1');
    expect(response.text).not.toContain('the object was reset');
  });

  it('is not opened for HEAD, since nothing would end it', async () => {
    const feed = new FakeFeed();
    expect((await edgeWith(feed).ask('HEAD', '/v1/changes', { headers: events })).status).toBe(200);
    expect(feed.followed).toEqual([]);
  });

  it('is not opened with more prefixes than the feed keeps', async () => {
    const feed = new FakeFeed();
    const path = `/v1/changes?prefix=${'a'.repeat(9_000)}`;
    const response = await edgeWith(feed).ask('GET', path, { headers: events });
    expect([response.status, problemOf(response)]).toEqual([400, 'invalid-request']);
    expect((await edgeWith(feed).ask('GET', path)).status).toBe(200);
    expect(feed.followed).toEqual([]);
  });
});

describe('an upgrade to WebSocket', () => {
  it('goes to the feed with the validated query, and without the token', async () => {
    const feed = new FakeFeed();
    const path = `/v1/changes?since=7&prefix=k&values=true&members=true&_token=${tokens.read}`;
    const response = await edgeWith(feed).ask('GET', path, { token: null, headers: websocket });
    expect([response.status, response.text]).toEqual([200, 'upgraded']);
    expect(feed.followed).toEqual([{ since: 7, prefixes: ['k'], values: true, members: true }]);
  });

  it('leaves the position to the feed, which closes with a reason that a browser can read', async () => {
    for (const [query, since] of [
      ['', null],
      ['?since=0', 0],
      ['?since=13', 13],
    ] as const) {
      const feed = new FakeFeed();
      const edge = edgeWith(feed);
      await edge.ask('GET', `/v1/changes${query}`, { headers: websocket });
      expect(feed.followed).toMatchObject([{ since }]);
      expect(edge.calls).toEqual([]);
    }
  });

  it.each([
    ['no token', { token: null }, '', 401],
    ['a wrong query', {}, '?since=x', 400],
    ['long prefixes', {}, `?prefix=${'a'.repeat(9_000)}`, 400],
  ])('with %s is refused before it reaches the feed', async (_fault, question, query, status) => {
    const feed = new FakeFeed();
    const response = await edgeWith(feed).ask('GET', `/v1/changes${query}`, {
      ...question,
      headers: websocket,
    });
    expect(response.status).toBe(status);
    expect(feed.followed).toEqual([]);
  });

  it('returns 503 if the feed is unreachable', async () => {
    const feed = new FakeFeed();
    feed.upgrade = () => Promise.reject(new Error('the object was reset'));
    const response = await edgeWith(feed).ask('GET', '/v1/changes', { headers: websocket });
    expect([response.status, problemOf(response)]).toEqual([503, 'feed-unavailable']);
  });
});
