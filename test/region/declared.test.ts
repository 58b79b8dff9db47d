/** Tests the KEYS that a client declares for its scripts. */
import { describe, expect, it } from 'vitest';
import { clientOf } from '../../functions/region/client.ts';
import { silent } from '../../functions/region/decoding.ts';
import type { ScriptRunner } from '../../functions/region/script-runner.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import { limits } from '../../shared/limits.ts';
import {
  command,
  commitOf,
  increment,
  part,
  prepareOf,
  roundOf,
  set,
  snapshotOf,
} from './fixtures.ts';

const own = ['state', 'lock', 'lease'].map((name) => `lockstep:0:${name}`);

interface Sent {
  readonly keys: readonly string[];
  readonly argument: string;
  readonly commands: readonly (readonly string[])[];
}

/** The script, its KEYS and its ARGV in the last request of `ask`. */
async function sentBy(ask: (client: RegionClient) => Promise<unknown>): Promise<Sent> {
  let last: Sent | null = null;
  const runner: ScriptRunner = {
    async evaluate(_script, keys, [argument = '']) {
      last = { keys, argument, commands: [] };
      return silent('the client sent no request');
    },
    async evaluateAhead(_script, keys, [argument = ''], commands) {
      last = { keys, argument, commands };
      return silent('the client sent no request');
    },
    run: async () => silent('the client sent no request'),
  };
  await ask(clientOf(runner));
  if (last === null) throw new Error('the client sent nothing');
  return last;
}

const round = (given: Parameters<typeof roundOf>[0]) =>
  sentBy((client) => client.round(roundOf(given), 0));

describe('the KEYS of a script', () => {
  it('of a round are the shard’s own, the keys of its transactions, and their shadows', async () => {
    const { keys } = await round({
      decisions: [commitOf(1, ['a', 'lockstep:channel:c'])],
      prepares: [prepareOf(2, ['ключ', 'a'], part(increment('a'), set('ключ', 'v')))],
    });
    const shadows = ['1.1:a', '1.2:ключ', '1.2:a'].map((name) => `lockstep:0:shadow:${name}`);
    expect(keys).toEqual([...own, 'a', 'ключ', ...shadows]);
  });

  it('of an empty round are the shard’s own', async () => {
    expect((await round({})).keys).toEqual(own);
  });

  it('of a copy are the keys that it reads', async () => {
    const copy = {
      kind: 'read',
      keys: [
        { key: 'a', from: '' },
        { key: '\xd0\xba', from: '' },
      ],
      form: 'dump',
    } as const;
    expect((await round({ copy })).keys).toEqual([...own, 'a']);
  });

  it('of a snapshot are the keys that it settles and reads in the script', async () => {
    const settle = [commitOf(1, ['s'])];
    const all = snapshotOf(
      ['k'],
      [command(['GET', 'k']), { args: ['DBSIZE'], reads: [], reply: null }],
      { settle },
    );
    const shadow = 'lockstep:0:shadow:1.1:s';
    expect((await sentBy((client) => client.snapshot(all, 0))).keys).toEqual([
      ...own,
      's',
      'k',
      shadow,
    ]);
  });

  it('of a snapshot that is read natively do not include the keys of its commands', async () => {
    const read = snapshotOf(['k'], [command(['GET', 'k'])], { settle: [commitOf(1, ['s'])] });
    const { keys, commands } = await sentBy((client) => client.snapshot(read, 0));
    expect(keys).toEqual([...own, 's', 'lockstep:0:shadow:1.1:s']);
    expect(commands).toEqual([['GET', 'k']]);
  });

  it('of an inspection are the keys that it compares', async () => {
    const { keys } = await sentBy((client) =>
      client.inspect(0, { kind: 'keys', keys: ['a', 'b'] }, 0),
    );
    expect(keys).toEqual([...own, 'a', 'b']);
  });

  it('exclude keys that are not valid UTF-8', async () => {
    const { keys } = await round({
      prepares: [prepareOf(1, ['\udc80', 'a'], part(increment('a')))],
    });
    expect(keys).toEqual([...own, 'a', 'lockstep:0:shadow:1.1:a']);
  });

  it('at most double a request, and have a bounded number', async () => {
    for (const [count, length] of [
      [40, 10_000],
      [9_000, 2],
    ] as const) {
      const names = Array.from({ length: count }, (_, index) => 'k'.repeat(length) + index);
      const { keys, argument } = await round({
        prepares: [prepareOf(1, names, part(set('k', '1')))],
      });
      const declared = keys.slice(own.length);
      expect(declared.length).toBeGreaterThan(0);
      expect(declared.length).toBeLessThanOrEqual(limits.keysDeclared);
      expect(JSON.stringify(declared).length).toBeLessThanOrEqual(argument.length + 2);
    }
  });
});
