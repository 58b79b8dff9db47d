/** Sends random hostile requests of the Upstash dialect to an edge over fakes. */
import { describe, expect, it } from 'vitest';
import { compileWrite } from '../../shared/commands/compile.ts';
import { encodeReply } from '../../shared/contracts/reply.ts';
import { everyKey, flushedKey } from '../../shared/reserved-keys.ts';
import { hostileForm, statuses } from '../e2e/upstash-hostile.ts';
import { Random } from '../simulation/random.ts';
import { decided, EdgeUnderTest, tokens } from './fakes.ts';

const all: readonly string[] = [everyKey, flushedKey];

/** Reads go through the coordinator here, which knows the number of replies for each. */
const silent = [{ kind: 'silent', reason: 'not now' }] as const;

describe('hostile requests of the Upstash dialect', () => {
  it('get only known statuses, and never reach Lockstep’s own keys', async () => {
    const read: string[] = [];
    const edge = new EdgeUnderTest(
      {
        write: async ({ ops }) => decided({ part: JSON.stringify([0, ...ops.map(() => 1)]) }),
        read: async ({ keys, commands }) => {
          read.push(...keys);
          return { kind: 'read', replies: encodeReply(commands.map(() => null)), region: 'r' };
        },
      },
      { 'us-east-1': silent, 'eu-west-1': silent, 'ap-northeast-1': silent },
    );
    for (let seed = 1; seed <= 4_000; seed += 1) {
      const { method, path, body, headers } = hostileForm(new Random(seed));
      const init = { method, headers: { authorization: `Bearer ${tokens.write}`, ...headers } };
      const { status } = await edge.app.request(
        path,
        body === undefined ? init : { ...init, body },
      );
      // A GET of / is redirected to the documentation.
      expect([...statuses, 302], `seed ${seed}: ${method} ${path}`).toContain(status);
    }
    const written = edge.writes.flatMap(({ ops }) => {
      const compiled = compileWrite(ops, [], { now: edge.now, seed: () => 0 });
      return compiled.ok ? compiled.keys : ['lockstep: the text was not compiled'];
    });
    expect(written.length).toBeGreaterThan(100);
    expect(read.length).toBeGreaterThan(100);
    // FLUSHALL locks names that hold no value.
    const isReached = (key: string) => key.startsWith('lockstep:') && !all.includes(key);
    expect([...read, ...written].filter(isReached)).toEqual([]);
    expect(edge.logged).toEqual([]);
  });
});
