/** Tests a stack under hostile input, writes near the limits, and many concurrent clients. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { contradictions, History, mayBeSentAgain } from './history.ts';
import { preparesOf, sizes } from './rounds.ts';
import { bodyOf, patience, strongRead, wake, write } from './writes.ts';

let stack: TestStack;

beforeAll(async () => {
  stack = await startTestStack({ roundTrips: 3 });
  // After this no key of Lockstep's own appears or disappears without a write.
  await write(stack, [['SET', 'first', '1']], { ack: 'confirmed' });
  await write(stack, [['SET', 'first', '2']], { ack: 'confirmed' });
});

afterAll(() => stack?.stop(), 60_000);

function everyRegion<Value>(value: Value): readonly Value[] {
  return stack.regions.map(() => value);
}

async function expectNoLocks(): Promise<void> {
  await expect.poll(() => stack.locks(), patience).toEqual([]);
}

describe('hostile input over HTTP', () => {
  /** Everything in the databases except their round counters, to detect any write at all. */
  const present = async () => {
    const keys = stack.regions.map(async ({ client }) => (await client.keys('*')).toSorted());
    return { sizes: await sizes(stack), keys: await Promise.all(keys) };
  };

  const ops = '"ops":[["SET","hostile","1"]]';

  it.each<[string, number, string | Buffer<ArrayBuffer>]>([
    ['nothing', 400, ''],
    ['half a JSON text', 400, '{"ops":[["SET","hostile"'],
    ['an array', 400, '[["SET","hostile","1"]]'],
    ['no operation', 400, '{"ops":[]}'],
    ['an operation that is an object', 400, '{"ops":[{"SET":"hostile"}]}'],
    ['an unknown member', 400, `{${ops},"atomic":false}`],
    ['a member twice', 400, `{${ops},${ops}}`],
    ['__proto__', 400, `{${ops},"__proto__":{"ack":"confirmed"}}`],
    ['a constructor', 400, `{${ops},"constructor":{"prototype":{}}}`],
    ['deep JSON', 400, `{${ops},"x":${'['.repeat(5_000)}${']'.repeat(5_000)}}`],
    ['a lone surrogate', 400, '{"ops":[["SET","hostile","\\ud800"]]}'],
    [
      'bytes that are not valid UTF-8',
      400,
      Buffer.from([...Buffer.from('{"ops":[["SET","'), 0xff]),
    ],
    ['an integer beyond 2^53', 400, '{"ops":[["SET","hostile",9007199254740993]]}'],
    ['a huge exponent', 400, '{"ops":[["SET","hostile",1e999]]}'],
    ['a null argument', 400, '{"ops":[["SET","hostile",null]]}'],
    ['a wrong arity', 400, '{"ops":[["SET","hostile"]]}'],
    ['an unknown command', 400, '{"ops":[["SETT","hostile","1"]]}'],
    ['a disguised command', 400, '{"ops":[["SET\\r\\nFLUSHALL","hostile","1"]]}'],
    ['a script with a negative number of keys', 400, '{"ops":[["EVAL","return 1","-1"]]}'],
    ['a script with an unknown digest', 400, `{"ops":[["EVALSHA","${'0'.repeat(40)}","0"]]}`],
    ['an administrative command', 400, '{"ops":[["SHUTDOWN"]]}'],
    ['a blocking command', 400, '{"ops":[["BLPOP","hostile","0"]]}'],
    ['a reserved key', 400, '{"ops":[["DEL","lockstep:0:lock"]]}'],
    ['a reserved key as the second one', 400, '{"ops":[["RENAME","first","lockstep:0:state"]]}'],
    ['a good operation before a bad one', 400, '{"ops":[["SET","hostile","1"],["NOPE"]]}'],
    ['129 operations', 400, `{"ops":[${Array(129).fill('["INCR","hostile"]').join()}]}`],
    ['a value past the limit', 413, `{"ops":[["SET","hostile","${'x'.repeat(512_001)}"]]}`],
    ['a key past the limit', 413, `{"ops":[["SET","${'k'.repeat(32_001)}","1"]]}`],
    ['a body past the limit', 413, `{${ops},"x":"${'x'.repeat(1_000_000)}"}`],
  ])(
    'with %s is refused with a problem, and writes nothing in any region',
    async (_, status, body) => {
      const before = await present();
      const response = await fetch(`${stack.url}/v1/writes`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${stack.tokens.write}`,
          'content-type': 'application/json',
        },
        body,
      });
      const problem: unknown = await response.json();
      expect(problem).toMatchObject({ status, type: expect.stringMatching(/^\/problems\//) });
      expect(response.status).toBe(status);
      expect(await present()).toEqual(before);
    },
  );

  it('with an interrupted body writes nothing, and other requests are served', async () => {
    const before = await present();
    const { port } = new URL(stack.url);
    const body = '{"ops":[["SET","hostile","1"]]}';
    for (const sent of [0, 10, body.length - 1]) {
      const socket = connect(Number(port), '127.0.0.1');
      await once(socket, 'connect');
      const head = `POST /v1/writes HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${stack.tokens.write}\r\n`;
      const type = `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
      socket.write(`${head}${type}${body.slice(0, sent)}`);
      socket.destroy();
      await once(socket, 'close');
    }
    expect((await wake(stack)).status).toBe(200);
    expect(await present()).toEqual(before);
  });

  it('with a token that only reads, or none, writes nothing', async () => {
    const before = await present();
    const body = { ops: [['SET', 'hostile', '1']] };
    const reader = await stack.send('POST', '/v1/writes', body, { scope: 'read' });
    const headers = { authorization: '' };
    const nobody = await stack.send('POST', '/v1/writes', body, { headers });
    expect([reader.status, nobody.status]).toEqual([403, 401]);
    expect(await present()).toEqual(before);
  });
});

describe('writes near the limits', () => {
  it('carry a value of 500,000 bytes, of any characters, unchanged to every region', async () => {
    const values = {
      plain: 'x'.repeat(500_000),
      quotes: '"\\'.repeat(120_000),
      wide: 'é'.repeat(250_000),
      control: '\u0001'.repeat(160_000),
    };
    for (const [name, value] of Object.entries(values)) {
      const answer = await write(stack, [['SET', `large:${name}`, value]], { ack: 'confirmed' });
      expect(answer.status).toBe(200);
      expect(await stack.everywhere(`large:${name}`)).toEqual(everyRegion(value));
      expect(await strongRead(stack, `large:${name}`, stack.regions[2]?.id ?? '')).toBe(value);
    }
  });

  it('change the maximum number of keys by 128 operations, and no more', async () => {
    const each = limits.keysPerWrite / 128;
    const named = (name: string, count: number) => [
      'MSET',
      ...Array.from({ length: count }, (_, key) => [`${name}:${key}`, '1']).flat(),
    ];
    const ops = Array.from({ length: 128 }, (_, index) => named(`many:${index}`, each));
    expect((await write(stack, ops, { ack: 'confirmed' })).status).toBe(200);
    const count = stack.regions.map(({ client }) => client.keys('many:*'));
    expect((await Promise.all(count)).map((keys) => keys.length)).toEqual(
      everyRegion(limits.keysPerWrite),
    );
    const [, ...rest] = ops;
    const many = await write(stack, [...rest, named('more', each + 1)]);
    expect(many.status).toBe(413);
  });

  it('are all carried out if ten of 900,000 bytes arrive at once, on keys of their own or on one', async () => {
    const first = 'x'.repeat(450_000);
    const second = 'y'.repeat(450_000);
    const bodies = Array.from({ length: 10 }, (_, index) => `heavy:${index % 7}`);
    const answers = await Promise.all(
      bodies.map((key) =>
        write(
          stack,
          [
            ['SET', key, first],
            ['SET', `${key}:2`, second],
          ],
          { timeoutMs: 30_000 },
        ),
      ),
    );
    expect(answers.map(({ status }) => status)).toEqual(bodies.map(() => 200));
    await expectNoLocks();
    expect(await stack.everywhere('heavy:0')).toEqual(everyRegion(first));
    expect(await stack.everywhere('heavy:6:2')).toEqual(everyRegion(second));
  });

  it('fail alone if their replies exceed the limit, and delay no other write', async () => {
    await write(stack, [['SET', 'replies', 'é'.repeat(200_000)]], { ack: 'confirmed' });
    const reads = Array.from({ length: 127 }, () => ['GET', 'replies']);
    const [greedy, modest] = await Promise.all([
      write(stack, [['SET', 'greedy', '1'], ...reads], { timeoutMs: 30_000 }),
      write(stack, [['INCR', 'modest']], { timeoutMs: 30_000 }),
    ]);
    expect([greedy?.status, modest?.status]).toEqual([422, 200]);
    const snapshot = await stack.send('POST', '/v1/reads', { reads });
    expect(snapshot.status).toBe(422);
    await expectNoLocks();
    expect(await stack.everywhere('greedy')).toEqual(everyRegion(null));
    expect(await stack.everywhere('modest')).toEqual(everyRegion('1'));
  });
});

describe('many clients at once', () => {
  it('see one order of increments and strong reads in all regions, even if votes get lost', async () => {
    const counters = ['order:a', 'order:b', 'order:c'];
    const ids = stack.regions.map(({ id }) => id);
    for (const [index, { gateway }] of stack.regions.entries()) {
      const executed = index % 2 === 0;
      const matches = preparesOf(counters[index] ?? '');
      gateway.faults.add({ fault: { kind: 'drop', executed }, matches, times: 2 });
    }
    const history = new History();
    const clients = Array.from({ length: 10 }, async (_, client) => {
      for (let step = 0; step < 20; step += 1) {
        const key = counters[(client + step * 7) % 3] ?? '';
        const region = ids[(client * 5 + step) % 3] ?? '';
        await ((client + step) % 2 === 0
          ? history.increment(stack, key)
          : history.read(stack, key, region));
      }
    });
    await Promise.all(clients);
    stack.heal();
    expect(history.all).toHaveLength(200);
    for (const key of counters) {
      const operations = history.all.filter((operation) => operation.key === key);
      expect(contradictions(operations)).toEqual([]);
      const count = operations.filter(({ kind }) => kind === 'increment').length;
      await expectNoLocks();
      expect(await stack.everywhere(key)).toEqual(everyRegion(String(count)));
    }
  });

  it('never see half of a write of two keys, in any region', async () => {
    const reads = [
      ['GET', 'pair:left'],
      ['GET', 'pair:right'],
    ];
    const writer = async () => {
      for (let step = 0; step < 25; step += 1) {
        const ops = reads.map(([, key = '']) => ['INCR', key]);
        expect((await write(stack, ops, { timeoutMs: 30_000 })).status).toBe(200);
      }
    };
    const reader = async (region: string) => {
      let answered = 0;
      while (answered < 25) {
        const query = { reads, region, consistency: answered % 2 === 0 ? 'strong' : 'local' };
        const answer = await stack.send('POST', '/v1/reads', query, { scope: 'read' });
        const { results } = bodyOf(answer);
        if (answer.status !== 200) expect(mayBeSentAgain(answer)).toBe(true);
        else {
          expect(results?.[0]).toBe(results?.[1]);
          answered += 1;
        }
      }
    };
    await Promise.all([writer(), writer(), ...stack.regions.map(({ id }) => reader(id))]);
    await expectNoLocks();
    expect(await stack.everywhere('pair:left')).toEqual(everyRegion('50'));
  });

  it('get one response if they send one request under one key, and it is carried out once', async () => {
    const key = 'same';
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => write(stack, [['INCR', key]], { key, ack: 'confirmed' })),
    );
    expect(new Set(answers.map((answer) => bodyOf(answer).id)).size).toBe(1);
    expect(await stack.everywhere(key)).toEqual(everyRegion('1'));
    const other = await write(stack, [['INCRBY', key, 2]], { key });
    expect([other.status, bodyOf(other).type]).toEqual([422, '/problems/idempotency-key-reused']);
  });

  it('are counted once each if they disconnect early and come back', async () => {
    const key = 'impatient';
    const keys = Array.from({ length: 24 }, (_, index) => `${key}:${index}`);
    const body = { ops: [['INCR', key]] };
    const leaving = keys.map((name, index) => {
      const headers = { 'idempotency-key': name };
      const signal = AbortSignal.timeout(index);
      return stack.send('POST', '/v1/writes', body, { headers, signal }).catch(() => null);
    });
    await Promise.all(leaving);
    const answers = await Promise.all(keys.map((name) => write(stack, body.ops, { key: name })));
    const values = answers.map((answer) => Number(bodyOf(answer).results?.[0]));
    expect(values.toSorted((a, b) => a - b)).toEqual(keys.map((_, index) => index + 1));
    await expectNoLocks();
    expect(await stack.everywhere(key)).toEqual(everyRegion(String(keys.length)));
  });
});
