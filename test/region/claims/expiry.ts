import { describe, expect, it } from 'vitest';
import type { Part, Prepare } from '../../../shared/contracts/round.ts';
import {
  checked,
  commitOf,
  del,
  executed,
  increment,
  part,
  prepareOf,
  read,
  rename,
  roundOf,
  set,
  ttl,
  write,
} from '../fixtures.ts';
import type { Implementation } from '../implementations.ts';
import { outcomesOfJson } from '../replies.ts';

const hour = 3_600_000;

/** Claims about fingerprints and the time at which a key expires. */
export function claimExpiry(region: () => Implementation): void {
  const vote = async (prepare: Prepare) =>
    executed(await region().round(roundOf({ prepares: [prepare] }))).votes[0];
  const commit = (...keys: readonly string[]) =>
    region().round(roundOf({ decisions: [commitOf(1, keys)] }));
  const at = (now: number, keys: readonly string[], ...parts: readonly Part[]) => ({
    ...prepareOf(1, keys, ...parts),
    now,
  });

  describe('a fingerprint', () => {
    it('distinguishes absent, persistent and expiring keys if their old values matter', async () => {
      const expiry = String(Date.now() + hour);
      await region().run('SET', 'persistent', '1');
      await region().run('SET', 'expiring', '1', 'PXAT', expiry);
      const keys = ['none', 'persistent', 'expiring'];
      const operations = keys.map((key) => increment(key));
      const found = await vote(prepareOf(1, keys, part(...operations)));
      expect(found).toMatchObject({ fingerprints: ['absent', 'persistent', expiry] });
    });

    it('is empty for a plain SET and for an unused key, and stays if a part is undone', async () => {
      await region().run('SET', 'a', '1');
      const keys = ['a', 'idle', 'looked at', 'set and read'];
      const parts = [
        part(set('a', '2')),
        checked({ kind: 'exists', key: 'looked at' }),
        part(set('set and read', '1'), read(['GET', 'set and read'])),
      ];
      const found = await vote(prepareOf(1, keys, ...parts));
      expect(found).toMatchObject({ fingerprints: ['', '', 'absent', ''] });
    });

    it('counts a key as absent from its expiry on, by the transaction’s clock', async () => {
      const expiry = Date.now() + hour;
      await region().run('SET', 'k', '5', 'PXAT', String(expiry));
      const parts = [part(read(['GET', 'k'])), part(ttl('PTTL', 'k')), part(increment('k'))];
      expect(await vote(at(expiry - 1, ['k'], ...parts))).toMatchObject({
        outcomes: outcomesOfJson('[[0,"5"],[0,1],[0,6]]'),
        fingerprints: [String(expiry)],
      });
      await region().wipe();
      await region().run('SET', 'k', '5', 'PXAT', String(expiry));
      expect(await vote(at(expiry, ['k'], ...parts))).toMatchObject({
        outcomes: outcomesOfJson('[[0,null],[0,-2],[0,1]]'),
        fingerprints: ['absent'],
      });
    });

    it('gives no old expiry to a value that replaces a key counted as absent', async () => {
      const expiry = Date.now() + hour;
      await region().run('SET', 'k', '5', 'PXAT', String(expiry));
      await vote(at(expiry + 1, ['k'], part(increment('k'), ttl('TTL', 'k'))));
      await commit('k');
      expect(await region().run('GET', 'k')).toBe('"1"');
      expect(await region().run('PERSIST', 'k')).toBe('0');
    });

    it('reports no deletion of a key that is counted as absent', async () => {
      const expiry = Date.now() + hour;
      await region().run('SET', 'k', '5', 'PXAT', String(expiry));
      const found = await vote(at(expiry, ['k'], part(del('k'))));
      expect(found).toMatchObject({
        outcomes: outcomesOfJson('[[0,0]]'),
        fingerprints: ['absent'],
      });
    });
  });

  describe('an expiry', () => {
    it('is kept by a change, set by an inline SET, and dropped by a SET without one', async () => {
      const expiry = String(Date.now() + hour);
      await region().run('SET', 'changed', '1', 'PXAT', expiry);
      await region().run('SET', 'dropped', '1', 'PXAT', expiry);
      const operations = [increment('changed'), set('dropped', '2'), set('set', '3', expiry)];
      await vote(prepareOf(1, ['changed', 'dropped', 'set'], part(...operations)));
      await commit('changed', 'dropped', 'set');
      expect(await region().run('PERSIST', 'changed')).toBe('1');
      expect(await region().run('PERSIST', 'dropped')).toBe('0');
      expect(await region().run('PERSIST', 'set')).toBe('1');
    });

    it('is answered from the staged state and the transaction’s clock', async () => {
      const now = Date.now();
      const operations = [
        ttl('TTL', 'none'),
        set('k', '1', String(now + 90_499)),
        ttl('TTL', 'k'),
        ttl('PTTL', 'k'),
        write('PERSIST', 'k'),
        ttl('TTL', 'k'),
        write('PEXPIREAT', 'k', String(now + 90_500)),
        ttl('TTL', 'k'),
      ];
      const found = await vote(at(now, ['none', 'k'], part(...operations)));
      expect(found).toMatchObject({
        outcomes: outcomesOfJson('[[0,-2,{"s":"OK"},90,90499,1,-1,1,91]]'),
      });
    });

    it('leaves a key absent if it expired between prepare and commit', async () => {
      await region().run('SET', 'old', '1');
      const soon = Date.now() + 30;
      const operations = [
        set('inline', '1', String(soon)),
        write('PEXPIREAT', 'old', String(soon)),
      ];
      await vote(prepareOf(1, ['inline', 'old'], part(...operations)));
      // The region uses the real clock here, and the test waits until the key expires.
      while (Date.now() <= soon + 1) await region().run('EXISTS', 'old');
      const reply = executed(
        await region().round(roundOf({ decisions: [commitOf(1, ['inline', 'old'])] })),
      );
      expect(reply.decisions).toEqual(['acknowledged']);
      expect(await region().run('EXISTS', 'inline')).toBe('0');
      expect(await region().run('EXISTS', 'old')).toBe('0');
    });

    it('counts from the same time whether a later step keeps, drops or postpones it', async () => {
      const now = Date.now() + hour;
      const soon = String(now + 800);
      const operations = [
        set('kept', '1', soon),
        increment('kept'),
        ttl('PTTL', 'kept'),
        set('dropped', '1', soon),
        write('PERSIST', 'dropped'),
        ttl('PTTL', 'dropped'),
        set('moved', '1', soon),
        rename('moved', 'to'),
        ttl('PTTL', 'to'),
        write('PEXPIREAT', 'to', String(now + 900)),
        ttl('PTTL', 'to'),
      ];
      const all = ['kept', 'dropped', 'moved', 'to'];
      const found = await vote(at(now, all, part(...operations)));
      expect(found).toMatchObject({
        outcomes: outcomesOfJson(
          '[[0,{"s":"OK"},2,800,{"s":"OK"},1,-1,{"s":"OK"},{"s":"OK"},800,1,900]]',
        ),
      });
      await commit(...all);
      const keep = (key: string) => write('PERSIST', key);
      const after = at(now + 1, all, part(...all.flatMap((key) => [ttl('PTTL', key), keep(key)])));
      const seen = await vote({ ...after, transaction: [1, 2] });
      expect(seen).toMatchObject({ outcomes: outcomesOfJson('[[0,799,1,-1,0,-2,0,899,1]]') });
    });

    it('is still ahead for its own transaction if only the region’s clock has passed it', async () => {
      const now = Date.now() - hour;
      const soon = String(now + 800);
      await region().run('SET', 'old', '5');
      const operations = [
        set('new', '1', soon),
        increment('new'),
        write('SET', 'new', '9', 'NX'),
        ttl('PTTL', 'new'),
        write('PEXPIREAT', 'old', soon),
        increment('old'),
        set('kept', '1', soon),
        write('APPEND', 'kept', '2'),
        write('PERSIST', 'kept'),
        set('gone', '1', soon),
        rename('gone', 'to'),
        read(['GET', 'to']),
      ];
      const all = ['new', 'old', 'kept', 'gone', 'to'];
      const found = await vote(at(now, all, part(...operations)));
      expect(found).toMatchObject({
        outcomes: outcomesOfJson(
          '[[0,{"s":"OK"},2,null,800,1,6,{"s":"OK"},2,1,{"s":"OK"},{"s":"OK"},"1"]]',
        ),
      });
      await commit(...all);
      for (const key of ['new', 'old', 'gone', 'to']) {
        expect(await region().run('EXISTS', key), key).toBe('0');
      }
      expect(await region().run('GET', 'kept')).toBe('"12"');
    });

    it('of an earlier part counts for the later parts, regardless of the region’s clock', async () => {
      const now = Date.now() - hour;
      const lock = (holder: string) =>
        part(write('SET', 'lock', holder, 'NX', 'PXAT', String(now + 800)));
      const found = await vote(at(now, ['lock'], lock('a'), lock('b'), lock('c')));
      expect(found).toMatchObject({
        outcomes: outcomesOfJson('[[0,{"s":"OK"}],[0,null],[0,null]]'),
      });
    });

    it('at the transaction’s clock deletes the key in a region whose own clock is behind', async () => {
      const now = Date.now() + hour;
      await region().run('SET', 'a', '1');
      const operations = [write('PEXPIREAT', 'a', String(now)), set('b', '1', String(now))];
      await vote(at(now, ['a', 'b'], part(...operations)));
      await commit('a', 'b');
      expect(await region().run('EXISTS', 'a')).toBe('0');
      expect(await region().run('EXISTS', 'b')).toBe('0');
    });

    it('in the past deletes the key', async () => {
      await region().run('SET', 'a', '1');
      await region().run('SET', 'b', '1');
      const operations = [write('PEXPIREAT', 'a', '1'), read(['EXISTS', 'a']), set('b', '2', '1')];
      const found = await vote(
        prepareOf(1, ['a', 'b'], part(...operations, read(['EXISTS', 'b']))),
      );
      expect(found).toMatchObject({ outcomes: outcomesOfJson('[[0,1,0,{"s":"OK"},0]]') });
      await commit('a', 'b');
      expect(await region().run('EXISTS', 'a')).toBe('0');
      expect(await region().run('EXISTS', 'b')).toBe('0');
    });
  });
}
