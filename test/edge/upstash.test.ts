/** Tests commands, pipelines and transactions of the Upstash dialect against fakes. */
import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { decided, EdgeUnderTest, recordOf, tokens } from './fakes.ts';
import { edgeOf, get, post } from './upstash-requests.ts';

describe('a read of the Upstash dialect', () => {
  it('is a strong snapshot in the nearest region, and returns its path', async () => {
    const edge = edgeOf('["v"]');
    const response = await get(edge, '/get/k');
    expect([response.status, response.json]).toEqual([200, { result: 'v' }]);
    expect(edge.snapshots).toMatchObject([
      { region: 'us-east-1', request: { strong: true, keys: ['k'] } },
    ]);
    expect(response.headers.get('lockstep-region')).toBe('us-east-1');
    expect(response.headers.get('lockstep-consistency')).toBe('strong');
    expect(edge.writes).toEqual([]);
  });

  it('is local if its header requests that', async () => {
    const edge = edgeOf('["v"]');
    const response = await get(edge, '/get/k', { headers: { 'Lockstep-Consistency': 'local' } });
    expect(response.headers.get('lockstep-consistency')).toBe('local');
    expect(edge.snapshots[0]?.request.strong).toBe(false);
  });

  it('is refused if its header requests anything else', async () => {
    const response = await get(edgeOf(), '/get/k', { headers: { 'Lockstep-Consistency': 'most' } });
    expect([response.status, response.json]).toEqual([
      400,
      { error: 'ERR the header Lockstep-Consistency is strong or local' },
    ]);
  });

  it('in a pipeline with other reads is one snapshot', async () => {
    const count = limits.readsPerSnapshot * 3;
    const edge = edgeOf(JSON.stringify(Array(count).fill('v')));
    const response = await post(edge, '/pipeline', Array(count).fill(['GET', 'k']));
    expect(response.text).toBe(JSON.stringify(Array(count).fill({ result: 'v' })));
    expect(edge.snapshots).toHaveLength(1);
  });

  it('returns status 503 and the reason if no region answers', async () => {
    const edge = new EdgeUnderTest({}, {});
    for (const region of ['us-east-1', 'eu-west-1', 'ap-northeast-1']) {
      edge.regions[region] = [{ kind: 'silent', reason: 'connection refused' }];
    }
    const response = await get(edge, '/get/k');
    expect(response.status).toBe(503);
    expect(response.json.error).toMatch(/^ERR .*connection refused/);
  });

  it('keeps the client’s sync token, and creates one if there is none', async () => {
    const edge = edgeOf('["v"]');
    const sent = await get(edge, '/get/k', { headers: { 'Upstash-Sync-Token': 'given' } });
    const none = await get(edge, '/get/k');
    expect(sent.headers.get('upstash-sync-token')).toBe('given');
    expect(none.headers.get('upstash-sync-token')).toMatch(/\S/);
  });
});

describe('a write of the Upstash dialect', () => {
  it('is a frame of its own, without an idempotency key, and changes the sync token', async () => {
    const edge = edgeOf();
    const headers = { 'Upstash-Sync-Token': 'given' };
    const response = await get(edge, '/set/k/v?EX=100', { headers });
    expect([response.status, response.json]).toEqual([200, { result: 'OK' }]);
    expect(edge.writes).toMatchObject([
      {
        ops: [['set', 'k', 'v', 'EX', '100']],
        checks: [],
        continueOnError: false,
        idempotency: null,
      },
    ]);
    expect(response.headers.get('upstash-sync-token')).not.toBe('given');
  });

  it('returns the error of Redis if it fails', async () => {
    const edge = edgeOf('[]', '[2,0,"WRONGTYPE Operation against a key"]');
    const response = await get(edge, '/lpush/k/v');
    expect([response.status, response.json]).toEqual([
      400,
      { error: 'WRONGTYPE Operation against a key' },
    ]);
  });

  it.each([
    ['busy', { kind: 'busy', retryAfterMs: 1_000 } as const, 429],
    [
      'not decided',
      { kind: 'unavailable', id: 'x', faults: [], reason: 'too late', code: null } as const,
      503,
    ],
  ])('reports that nothing was written if it is %s', async (_name, answer, status) => {
    const edge = new EdgeUnderTest({ write: async () => answer });
    const response = await get(edge, '/incr/k');
    expect(response.status).toBe(status);
    expect(response.json.error).toMatch(/^ERR Nothing was written/);
  });

  it('reports an unknown outcome after its retries if the coordinator does not answer', async () => {
    let calls = 0;
    const write = async () => {
      calls += 1;
      throw new Error('reset');
    };
    const response = await get(new EdgeUnderTest({ write }), '/incr/k');
    expect([response.status, calls]).toEqual([503, 1 + limits.resendsPerWrite]);
    expect(response.json.error).toContain('is unknown');
  });

  it('has the idempotency key of its header, made distinct per command of a pipeline', async () => {
    const edge = edgeOf();
    const headers = { 'Idempotency-Key': 'once' };
    await post(edge, '/', ['INCR', 'k'], { headers });
    await post(
      edge,
      '/pipeline',
      [
        ['INCR', 'k'],
        ['INCR', 'k'],
      ],
      { headers },
    );
    const keys = edge.writes.map(({ idempotency }) => idempotency?.key);
    expect(keys).toEqual(['writer:0:once', 'writer:0:once', 'writer:1:once']);
    const digests = new Set(edge.writes.map(({ idempotency }) => idempotency?.digest));
    expect(digests.size).toBe(2);
  });

  it('carries invalid UTF-8 in a path or a body, but not in a key', async () => {
    const edge = edgeOf();
    await edge.ask('POST', '/set/k', { body: new Uint8Array([0x61, 0xff, 0xc3, 0xa9]) });
    await get(edge, '/set/k/%80x');
    const key = await get(edge, '/set/%80/v');
    expect(edge.writes.map(({ ops }) => ops[0]?.[2])).toEqual(['a\udcffé', '\udc80x']);
    expect(key.status).toBe(400);
    expect(key.json.error).toContain('a key is not valid Unicode text');
  });
});

describe('a pipeline with writes', () => {
  it('is one call of the coordinator, its reads among the frames', async () => {
    const edge = edgeOf();
    const response = await post(edge, '/pipeline', [
      ['SET', 'a', 1],
      ['GET', 'a'],
      ['PING'],
      ['INCR', 'b'],
    ]);
    expect(response.text).toBe(
      '[{"result":"OK"},{"result":"OK"},{"result":"PONG"},{"result":"OK"}]',
    );
    expect(edge.batches).toEqual([3]);
    expect(edge.snapshots).toEqual([]);
    expect(edge.writes.map(({ ops }) => ops)).toEqual([
      [['SET', 'a', '1']],
      [['GET', 'a']],
      [['INCR', 'b']],
    ]);
  });

  it('continues after a command that is refused or fails', async () => {
    const write: (typeof EdgeUnderTest.prototype.coordinator)['write'] = async ({ ops }) =>
      decided(ops[0]?.[0] === 'INCR' ? { part: '[2,0,"ERR no"]', outcome: 'rejected' } : {});
    const edge = new EdgeUnderTest({ write });
    const response = await post(edge, '/pipeline', [
      ['SET', 'a', 1],
      ['NOPE'],
      ['INCR', 'a'],
      ['SET', 'b', 1],
    ]);
    expect([response.status, response.json]).toMatchObject([
      200,
      [
        { result: 'OK' },
        { error: "ERR unknown command 'NOPE', with args beginning with: " },
        { error: 'ERR no' },
        { result: 'OK' },
      ],
    ]);
  });

  it('runs a read that is not allowed in writes by itself, in its place', async () => {
    const edge = edgeOf('["m"]');
    const response = await post(edge, '/pipeline', [
      ['SADD', 's', 'm'],
      ['SRANDMEMBER', 's'],
      ['SREM', 's', 'm'],
    ]);
    expect(response.text).toBe('[{"result":"OK"},{"result":"m"},{"result":"OK"}]');
    expect(edge.writes.map(({ ops }) => ops.length)).toEqual([1, 1]);
    expect(edge.snapshots).toHaveLength(1);
  });
});

describe('a transaction of the Upstash dialect', () => {
  it('is one frame that continues on errors, each error in its place', async () => {
    const edge = edgeOf('[]', '[0,{"s":"OK"},{"e":"ERR no"},9007199254740993]');
    const commands = [
      ['SET', 'a', 'x'],
      ['INCR', 'a'],
      ['PING'],
      ['INCR', 'b'],
      ['SET', 'a', 1, 'EX', 0],
    ];
    const response = await post(edge, '/multi-exec', commands);
    expect(response.text).toBe(
      '[{"result":"OK"},{"error":"ERR no"},{"result":"PONG"},{"result":9007199254740993},' +
        '{"error":"ERR invalid expire time in \'set\' command"}]',
    );
    expect(edge.writes).toMatchObject([
      {
        ops: [
          ['SET', 'a', 'x'],
          ['INCR', 'a'],
          ['INCR', 'b'],
        ],
        continueOnError: true,
      },
    ]);
  });

  it('of reads is one snapshot', async () => {
    const edge = edgeOf('["v",2]');
    const response = await post(edge, '/multi-exec', [
      ['GET', 'a'],
      ['LLEN', 'l'],
    ]);
    expect(response.text).toBe('[{"result":"v"},{"result":2}]');
    expect(edge.snapshots).toHaveLength(1);
  });

  it.each([
    ['an unknown command', ['NOPE'], 'unknown command'],
    ['a wrong number of arguments', ['GET'], 'wrong number of arguments'],
    ['a command that is not supported', ['FCALL', 'f', 0], 'FCALL is not supported'],
    ['a key of Lockstep’s own', ['GET', 'lockstep:0:state'], 'reserved'],
    [
      'a random choice together with a write',
      ['SRANDMEMBER', 's'],
      'is not allowed in a transaction',
    ],
  ])('with %s is discarded as a whole, with the reason', async (_name, command, reason) => {
    const edge = edgeOf();
    const response = await post(edge, '/multi-exec', [['SET', 'a', 1], command]);
    expect(response.status).toBe(400);
    expect(response.json.error).toMatch(
      /^EXECABORT Transaction discarded because of previous errors\./,
    );
    expect(response.json.error).toContain(reason);
    expect(edge.writes).toEqual([]);
  });
});

describe('a command of the Upstash dialect', () => {
  it('needs a token, in the header or in the query', async () => {
    const edge = edgeOf('["v"]');
    const none = await get(edge, '/get/k', { token: null });
    expect([none.status, none.json]).toEqual([
      401,
      { error: 'WRONGPASS invalid or missing auth token' },
    ]);
    const query = await get(edge, `/get/k?_token=${tokens.read}`, { token: null });
    expect([query.status, query.json]).toEqual([200, { result: 'v' }]);
  });

  it('reads with a token of scope read, and writes nothing', async () => {
    const edge = edgeOf('["v"]');
    const commands = [
      ['GET', 'k'],
      ['SET', 'k', 'v'],
    ];
    const response = await post(edge, '/pipeline', commands, { token: tokens.read });
    const error = "NOPERM this user has no permissions to run the 'set' command";
    expect(response.json).toEqual([{ result: 'v' }, { error }]);
    const multi = await post(edge, '/multi-exec', commands, { token: tokens.read });
    expect(multi.json.error).toContain(error);
    expect(edge.writes).toEqual([]);
  });
});

describe('an address of Lockstep', () => {
  it.each([
    ['GET', '/v1/nothing', 404],
    ['GET', '/v1/writes', 405],
    ['GET', '/docs/nothing', 404],
    ['POST', '/healthz', 405],
    ['GET', '/9lives/x', 404],
  ])('is not a command: %s %s is a problem of status %i', async (method, path, status) => {
    const response = await edgeOf().ask(method, path);
    expect(response.status).toBe(status);
    expect(response.headers.get('content-type')).toContain('application/problem+json');
  });

  it('is not a command at the root: GET / redirects to the documentation', async () => {
    const response = await get(edgeOf(), '/');
    expect([response.status, response.headers.get('location')]).toEqual([302, '/docs']);
  });
});

describe('an unsupported command', () => {
  it.each([
    ['a function', '/fcall/f/0', 'ERR FCALL is not supported: '],
    ['the end of a subscription', '/unsubscribe/channel', 'ERR UNSUBSCRIBE is not supported: '],
    ['a message to a shard', '/spublish/channel/x', 'ERR SPUBLISH is not supported: '],
    ['a wait', '/blpop/l/0', 'ERR BLPOP is not supported: '],
  ])('returns the reason: %s', async (_name, path, beginning) => {
    const response = await post(edgeOf(), path, '');
    expect(response.status).toBe(400);
    expect(String(response.json.error).startsWith(beginning)).toBe(true);
  });

  it.each(['SUBSCRIBE', 'PSUBSCRIBE', 'MONITOR'])(
    'returns the address of the stream for %s',
    async (name) => {
      const response = await post(edgeOf(), '/', [name, 'a']);
      expect(response.status).toBe(400);
      expect(response.json.error).toMatch(
        new RegExp(`^ERR ${name} is not supported: .* /${name.toLowerCase()}`),
      );
    },
  );

  it('returns the limit if its value or its request is too large', async () => {
    const value = await post(edgeOf(), '/set/k', 'v'.repeat(limits.valueBytes + 1));
    expect([value.status, value.json.error]).toEqual([
      400,
      expect.stringContaining('the limit is 512000'),
    ]);
    const body = await post(edgeOf(), '/set/k', 'v'.repeat(limits.bodyBytes + 1));
    expect([body.status, body.json.error]).toEqual([
      413,
      expect.stringContaining('max request size'),
    ]);
    const many = Array(limits.commandsPerPipeline + 1).fill(['PING']);
    const pipeline = await post(edgeOf(), '/pipeline', many);
    expect([pipeline.status, pipeline.json.error]).toEqual([
      400,
      expect.stringContaining('too many'),
    ]);
  });
});

describe('a malformed record', () => {
  it('is reported as an internal error without details', async () => {
    const edge = new EdgeUnderTest({
      write: async () => ({ kind: 'decided', record: recordOf({ part: '{}' }), replayed: false }),
    });
    const response = await get(edge, '/incr/k');
    expect(response.status).toBe(500);
    expect(response.json.error).toMatch(/^ERR internal error in Lockstep\./);
    expect(edge.logged).toEqual(['request failed']);
  });
});
