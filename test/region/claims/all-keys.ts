import { beforeEach, describe, expect, it } from 'vitest';
import type { Part } from '../../../shared/contracts/round.ts';
import { everyKey, flushedKey } from '../../../shared/reserved-keys.ts';
import {
  abortOf,
  command,
  commitOf,
  continuingOnError,
  executed,
  flush,
  increment,
  outcomesOf,
  part,
  prepareOf,
  read,
  roundOf,
  set,
  snapshotOf,
  write,
} from '../fixtures.ts';
import type { Implementation } from '../implementations.ts';
import { repliesOfJson } from '../replies.ts';

const all = [everyKey, flushedKey];

/** Claims about transactions that hold all keys (rule R41). */
export function claimAllKeys(region: () => Implementation): void {
  const send = async (given: Parameters<typeof roundOf>[0]) =>
    executed(await region().round(roundOf(given)));
  const stage = (keys: readonly string[], ...parts: readonly Part[]) =>
    send({ prepares: [prepareOf(1, keys, ...parts)] });
  const commit = (keys: readonly string[]) => send({ decisions: [commitOf(1, keys)] });
  const value = (key: string) => region().run('GET', key);

  const fill = async () => {
    await region().run('SET', 'a', '1');
    await region().run('SET', 'b', '2');
  };

  describe('a flush', () => {
    beforeEach(fill);

    it('deletes every key at its commit and not before, and none of the shard’s own keys', async () => {
      const reply = await stage(all, part(flush));
      expect(outcomesOf(reply.votes[0])).toBe('[[0,{"s":"OK"}]]');
      expect([await value('a'), await value('b')]).toEqual(['"1"', '"2"']);
      expect((await commit(all)).decisions).toEqual(['acknowledged']);
      expect([await value('a'), await value('b')]).toEqual(['null', 'null']);
      expect((await commit(all)).decisions).toEqual(['acknowledged']);
    });

    it('deletes more keys than a single scan returns', async () => {
      const keys = Array.from({ length: 2_500 }, (_, at) => `k${at}`);
      await Promise.all(keys.map((key) => region().run('SET', key, 'v')));
      await stage(all, part(flush));
      await commit(all);
      const answers = await Promise.all(['a', 'k0', 'k1234', 'k2499'].map(value));
      expect(answers).toEqual(['null', 'null', 'null', 'null']);
    });

    it('applies in order with the other operations of its transaction, before and after it', async () => {
      const keys = [...all, 'a', 'b', 'c'];
      const operations = [increment('a'), flush, read(['GET', 'a']), increment('a'), set('c', 'x')];
      const reply = await stage(keys, part(...operations));
      expect(outcomesOf(reply.votes[0])).toBe('[[0,2,{"s":"OK"},null,1,{"s":"OK"}]]');
      await commit(keys);
      expect(await Promise.all(['a', 'b', 'c'].map(value))).toEqual(['"1"', 'null', '"x"']);
    });

    it('is undone together with its part', async () => {
      const keys = [...all, 'a'];
      const reply = await stage(keys, part(flush, set('a', 'x'), write('HSET', 'a', 'f', '1')));
      expect(outcomesOf(reply.votes[0])).toMatch(/^\[\[2,2,"WRONGTYPE/);
      await commit(keys);
      expect([await value('a'), await value('b')]).toEqual(['"1"', '"2"']);
    });

    it('changes nothing if it is aborted', async () => {
      await stage(all, part(flush));
      expect((await send({ decisions: [abortOf(1, all)] })).decisions).toEqual(['acknowledged']);
      expect(await value('a')).toBe('"1"');
    });

    it('shows its lock to every strong read, which can apply its commit', async () => {
      await stage(all, part(flush));
      const commands = [command(['GET', 'a'])];
      const holder = [1, 1];
      expect(await region().snapshot(snapshotOf(['a'], commands))).toEqual({
        kind: 'read',
        replies: repliesOfJson('["1"]'),
        locks: [{ key: everyKey, holder }],
      });
      const settle = [commitOf(1, all)];
      expect(await region().snapshot(snapshotOf(['a'], commands, { settle }))).toEqual({
        kind: 'read',
        replies: repliesOfJson('[null]'),
        locks: [],
      });
    });
  });

  describe('a transaction that holds all keys', () => {
    it('blocks every other prepare', async () => {
      await stage([everyKey], part());
      const reply = await send({ prepares: [prepareOf(2, ['z'], part(set('z', '1')))] });
      expect(reply.votes).toEqual([{ kind: 'locked', key: everyKey, holder: [1, 1] }]);
    });

    it('withholds every key from the source of a copy', async () => {
      await fill();
      await stage(all, part(flush));
      const keys = ['a', 'b', 'none'].map((key) => ({ key, from: '' }));
      for (const form of ['dump', 'absent'] as const) {
        const { copy } = await send({ copy: { kind: 'read', keys, form } });
        expect(copy).toMatchObject({ items: [], locked: ['a', 'b', 'none'] });
      }
    });

    it('is reported by an inspection as the holder of each key', async () => {
      await fill();
      await stage(all, part(flush));
      const found = await region().inspect({ kind: 'keys', keys: ['a'] });
      expect(found).toMatchObject({ keys: [{ key: 'a', holder: [1, 1] }] });
    });

    it('is refused while any other transaction is staged, in the same round or an earlier one', async () => {
      const prepares = [prepareOf(1, ['z'], part(set('z', '1'))), prepareOf(2, all, part(flush))];
      const first = await send({ prepares });
      expect(first.votes[1]).toEqual({ kind: 'locked', key: 'z', holder: [1, 1] });
      const second = await send({ prepares: [prepareOf(3, all, part(flush))] });
      expect(second.votes).toEqual([{ kind: 'locked', key: 'z', holder: [1, 1] }]);
    });
  });

  describe('an operation that always fails', () => {
    beforeEach(fill);

    const fails = {
      kind: 'fail',
      args: ['ERR refused'],
      writes: [],
      reads: [],
      reply: null,
      seed: null,
    } as const;

    it('fails its part, or puts its error among the replies of a part that continues on errors', async () => {
      const reply = await stage(['a'], part(fails), continuingOnError(part(fails, increment('a'))));
      expect(outcomesOf(reply.votes[0])).toBe('[[2,0,"ERR refused"],[0,{"e":"ERR refused"},2]]');
    });
  });
}
