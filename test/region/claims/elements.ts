import { beforeEach, describe, expect, it } from 'vitest';
import type { Part } from '../../../shared/contracts/round.ts';
import { limits } from '../../../shared/limits.ts';
import {
  abortOf,
  checked,
  command,
  commitOf,
  del,
  executed,
  outcomesOf,
  part,
  prepareOf,
  read,
  roundOf,
  set,
  snapshotOf,
  ttl,
  write,
} from '../fixtures.ts';
import type { Implementation } from '../implementations.ts';
import { outcomesOfJson, repliesOfJson } from '../replies.ts';

const hour = 3_600_000;
const count = limits.elementsCopied + 2;
const numbers = Array.from({ length: count }, (_, index) => index);
const members = numbers.map((number) => `m${number}`);
const keys = ['h', 's', 'z', 'l'];

/** Claims about collections that are too large to copy for a change of some of their elements. */
export function claimElements(region: () => Implementation): void {
  const stage = async (named: readonly string[], ...parts: readonly Part[]) => {
    const prepares = [prepareOf(1, named, ...parts)];
    return outcomesOf(executed(await region().round(roundOf({ prepares }))).votes[0]);
  };
  const commit = async (...named: readonly string[]) => {
    const reply = executed(await region().round(roundOf({ decisions: [commitOf(1, named)] })));
    expect(reply.decisions).toEqual(['acknowledged']);
  };
  const value = (...args: readonly string[]) => region().run(...args);
  const sizeOf = async (...args: readonly string[]) => JSON.parse(await value(...args)).length;

  describe('a large collection', () => {
    beforeEach(async () => {
      await value('HSET', 'h', ...members.flatMap((member, at) => [member, String(at)]));
      await value('SADD', 's', ...members);
      await value('ZADD', 'z', ...members.flatMap((member, at) => [String(at), member]));
      await value('RPUSH', 'l', ...members);
    });

    const changes = [
      write('HSET', 'h', 'm1', 'changed', 'new', '1'),
      write('HINCRBY', 'h', 'm7', '5'),
      write('SADD', 's', 'm1', 'new'),
      write('SREM', 's', 'm2', 'none'),
      write('ZADD', 'z', '7.5', 'm1', '8', 'new'),
      write('LPUSH', 'l', 'first'),
      write('RPUSH', 'l', 'last'),
    ];

    it('answers commands on elements as a small collection does, and takes their changes', async () => {
      const outcomes = await stage(keys, part(...changes));
      expect(outcomes).toBe(`[[0,1,12,1,1,1,${count + 1},${count + 2}]]`);
      await commit(...keys);
      expect(await value('HGET', 'h', 'm1')).toBe('"changed"');
      expect(await value('HGET', 'h', 'm7')).toBe('"12"');
      expect(await value('HGET', 'h', 'm3')).toBe('"3"');
      expect(await sizeOf('HGETALL', 'h')).toBe((count + 1) * 2);
      expect(await sizeOf('SMEMBERS', 's')).toBe(count);
      expect(await value('ZSCORE', 'z', 'm1')).toBe('"7.5"');
      expect(await value('ZSCORE', 'z', 'm2')).toBe('"2"');
      expect(await value('LRANGE', 'l', '0', '1')).toBe('["first","m0"]');
      expect(await value('LRANGE', 'l', '-2', '-1')).toBe(`["m${count - 1}","last"]`);
    });

    it('shows no change before its commit, and none after its abort', async () => {
      await stage(keys, part(...changes));
      expect(await value('HGET', 'h', 'm1')).toBe('"1"');
      expect(await sizeOf('SMEMBERS', 's')).toBe(count);
      await region().round(roundOf({ decisions: [abortOf(1, keys)] }));
      expect(await value('HGET', 'h', 'm1')).toBe('"1"');
      expect(await value('LRANGE', 'l', '0', '0')).toBe('["m0"]');
    });

    it('shows later parts the changes of earlier ones, without those that were undone', async () => {
      const undone = part(write('HSET', 'h', 'm1', 'b', 'more', '1'), write('LPUSH', 'h', 'x'));
      const check = checked({ kind: 'field', key: 'h', field: 'm2', value: '2' });
      const missed = checked({ kind: 'field', key: 'h', field: 'm2', value: '3' });
      const outcomes = await stage(
        ['h'],
        part(write('HSET', 'h', 'm1', 'a')),
        undone,
        check,
        missed,
        part(read(['HGET', 'h', 'm1']), read(['HGET', 'h', 'more']), read(['EXISTS', 'h'])),
      );
      expect(JSON.parse(outcomes)).toEqual([
        [0, 0],
        [2, 1, expect.stringContaining('WRONGTYPE')],
        [0],
        [1, 0, '2'],
        [0, 'a', null, 1],
      ]);
      await commit('h');
      expect(await value('HGET', 'h', 'm1')).toBe('"a"');
      expect(await value('HGET', 'h', 'more')).toBe('null');
    });

    it('is returned whole, with its changes, by a command that reads all of it', async () => {
      const outcomes = await stage(
        ['s', 'h'],
        part(write('SADD', 's', 'new'), read(['SMEMBERS', 's'], 'members')),
        part(write('HSET', 'h', 'new', '1'), read(['HGETALL', 'h'], 'pairs')),
      );
      const [[, , all], [, , fields]] = JSON.parse(outcomes);
      expect(all).toHaveLength(count + 1);
      expect(fields).toHaveLength((count + 1) * 2);
      await commit('s', 'h');
      expect(await sizeOf('SMEMBERS', 's')).toBe(count + 1);
    });

    it('is gone once its last element is, and a value made after that has no expiry', async () => {
      await value('PEXPIREAT', 's', String(Date.now() + hour));
      const operations = [
        write('SREM', 's', ...members),
        read(['EXISTS', 's']),
        write('SADD', 's', 'new'),
        ttl('TTL', 's'),
      ];
      expect(await stage(['s'], part(...operations))).toBe(`[[0,${count},0,1,-1]]`);
      await commit('s');
      expect(await value('SMEMBERS', 's')).toBe('["new"]');
      expect(await value('PERSIST', 's')).toBe('0');
    });

    it('can be deleted or set after a change, and the change can be undone', async () => {
      const undone = [del('h'), set('s', '1'), write('HSET', 's', 'f', '1')];
      const first = part(write('HSET', 'h', 'new', '1'), write('SADD', 's', 'new'));
      const outcomes = await stage(['h', 's'], first, part(...undone), part(del('h')));
      expect(outcomes).toMatch(/^\[\[0,1,1\],\[2,2,"WRONGTYPE[^"]*"\],\[0,1\]\]$/);
      await commit('h', 's');
      expect(await value('EXISTS', 'h')).toBe('0');
      expect(await sizeOf('SMEMBERS', 's')).toBe(count + 1);
    });

    it('keeps its expiry, and gets one if it had none', async () => {
      const expiry = Date.now() + hour;
      await value('PEXPIREAT', 's', String(expiry));
      const prepare = prepareOf(
        1,
        ['s', 'h'],
        part(write('SADD', 's', 'new'), ttl('PTTL', 's')),
        part(write('PEXPIREAT', 'h', String(expiry)), write('HSET', 'h', 'new', '1')),
      );
      const reply = executed(await region().round(roundOf({ prepares: [prepare] })));
      expect(reply.votes[0]).toMatchObject({
        outcomes: outcomesOfJson(`[[0,1,${expiry - prepare.now}],[0,1,1]]`),
        fingerprints: [String(expiry), 'persistent'],
      });
      await commit('s', 'h');
      expect(await value('PERSIST', 's')).toBe('1');
      expect(await value('PERSIST', 'h')).toBe('1');
      expect(await sizeOf('HGETALL', 'h')).toBe((count + 1) * 2);
    });

    it('loses its expiry by a change that comes with other elements', async () => {
      await value('PEXPIREAT', 's', String(Date.now() + hour));
      const operations = [write('SADD', 's', 'new'), write('PERSIST', 's'), ttl('TTL', 's')];
      expect(await stage(['s'], part(...operations))).toBe('[[0,1,1,-1]]');
      await commit('s');
      expect(await value('PERSIST', 's')).toBe('0');
      expect(await sizeOf('SMEMBERS', 's')).toBe(count + 1);
    });

    it('is gone if an expiry has passed, and stays away', async () => {
      const outcomes = await stage(
        ['h', 's'],
        part(write('HSET', 'h', 'new', '1'), write('PEXPIREAT', 'h', '1'), read(['EXISTS', 'h'])),
        part(write('PEXPIREAT', 's', '1')),
      );
      expect(outcomes).toBe('[[0,1,1,0],[0,1]]');
      await commit('h', 's');
      expect(await value('EXISTS', 'h')).toBe('0');
      expect(await value('EXISTS', 's')).toBe('0');
    });

    it('leaves nothing if it expires between prepare and commit', async () => {
      const soon = Date.now() + 1_500;
      await value('PEXPIREAT', 's', String(soon));
      await value('PEXPIREAT', 'l', String(soon));
      const made = [write('PEXPIREAT', 'h', String(soon)), write('HSET', 'h', 'new', '1')];
      await stage(keys, part(write('SADD', 's', 'new'), write('LPUSH', 'l', 'new'), ...made));
      while (Date.now() <= soon + 1) await value('EXISTS', 's');
      await commit(...keys);
      for (const key of ['s', 'l', 'h']) expect(await value('EXISTS', key)).toBe('0');
    });

    it('is unchanged if no operation changed it', async () => {
      await stage(['s', 'h'], part(write('SADD', 's', 'm1'), write('HSET', 'h', 'm1', '1')));
      await commit('s', 'h');
      expect(await sizeOf('SMEMBERS', 's')).toBe(count);
    });

    it('takes the change for a reader that settles its commit', async () => {
      await stage(keys, part(...changes));
      const reads = [command(['HGET', 'h', 'm1']), command(['LRANGE', 'l', '0', '0'])];
      const settle = [commitOf(1, keys)];
      const result = await region().snapshot(snapshotOf(['h', 'l'], reads, { settle }));
      expect(result).toMatchObject({
        kind: 'read',
        replies: repliesOfJson('["changed",["first"]]'),
        locks: [],
      });
      await commit(...keys);
      expect(await value('LRANGE', 'l', '0', '1')).toBe('["first","m0"]');
    });
  });
}
