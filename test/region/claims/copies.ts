import { describe, expect, it } from 'vitest';
import type {
  CopyForm,
  CopyItem,
  CopyReply,
  CopyStep,
  Round,
} from '../../../shared/contracts/round.ts';
import { limits } from '../../../shared/limits.ts';
import { executed, part, prepareOf, roundOf, set } from '../fixtures.ts';
import type { Implementation } from '../implementations.ts';
import { bytesOf } from '../replies.ts';

type Read = Extract<CopyReply, { kind: 'read' }>;

const forms = ['dump', 'logical'] as const;

/** Claims about the replies of a source, and about their effect on a target. */
export function claimCopies(region: () => Implementation): void {
  const send = async (given: Partial<Round>) => executed(await region().round(roundOf(given)));
  const ask = async (copy: CopyStep, given: Partial<Round> = {}): Promise<Read> => {
    const reply = await send({ copy, ...given });
    if (reply.copy?.kind !== 'read') throw new Error(`not read: ${JSON.stringify(reply.copy)}`);
    return reply.copy;
  };
  const read = (keys: readonly string[], form: CopyForm) =>
    ask({ kind: 'read', keys: keys.map((key) => ({ key: bytesOf(key), from: '' })), form });
  const digests = async (keys: readonly string[]) => {
    const found = await region().inspect({ kind: 'keys', keys: keys.map(bytesOf) });
    if (found.kind !== 'inspected') throw new Error(found.reason);
    return found.keys.map(({ digest }) => digest);
  };

  /** Makes the region a target in a generation of its own, and a source again. */
  let generation = 1;
  let number = 1;
  const begin = async () => {
    generation += 1;
    const replaces = Array.from({ length: generation - 1 }, (_, index) => index + 1);
    const copy = { kind: 'begin', token: 'token', number: 1, replaces } as const;
    await send({ role: 'copying', generation, copy });
    number = 1;
  };
  const write = async (items: readonly CopyItem[]) => {
    number += 1;
    const data = items.map((item) => item.data);
    const copy = { kind: 'write', token: 'token', number, data } as const;
    return (await send({ role: 'copying', generation, copy })).copy;
  };
  const written = { kind: 'written', failed: [] };

  const far = String(Date.now() + 3_600_000);
  const fill = async () => {
    const { run } = region();
    await run('SET', 's', 'text');
    await run('SET', 'ключ é', 'ÿ\u0000"\\€');
    await run('SET', 'empty', '');
    await run('SET', 'expiring', 'v', 'PXAT', far);
    await run('RPUSH', 'list', 'b', 'a', 'b', 'é\u0000');
    await run('HSET', 'hash', 'f', '1', 'é', '\u0001ÿ', '', '');
    await run('SADD', 'set', '1', '2', 'é', '');
    await run('ZADD', 'zset', '1.5', 'a', '-3', 'b', '1e300', 'é', '0.1', 'c');
    await run('PEXPIREAT', 'hash', far);
    return ['s', 'ключ é', 'empty', 'expiring', 'list', 'hash', 'set', 'zset'];
  };

  describe('a copy of keys', () => {
    it.each(forms)(
      'gives the target all types, bytes and expiries, in the form %s',
      async (form) => {
        const keys = await fill();
        const before = await digests(keys);
        expect(before).not.toContain(null);
        const found = await read(keys, form);
        expect(found.items.map(({ key, next }) => [key, next])).toEqual(
          keys.map((key) => [bytesOf(key), null]),
        );
        expect(found).toMatchObject({ locked: [], left: [], cursor: null, total: null });
        await begin();
        for (const key of keys) await region().run('DEL', key);
        await region().run('SADD', 's', 'of another type');
        await region().run('SADD', 'set', 'superfluous');
        expect(await write(found.items)).toEqual(written);
        expect(await digests(keys)).toEqual(before);
        expect(await region().run('GET', 'ключ é')).toBe(
          '"\\u00c3\\u00bf\\u0000\\u0022\\u005c\\u00e2\\u0082\\u00ac"',
        );
        // Writing the same items again changes nothing.
        expect(await write(found.items)).toEqual(written);
        expect(await digests(keys)).toEqual(before);
      },
    );

    it.each(forms)('carries a key that is not valid UTF-8, in the form %s', async (form) => {
      await send({});
      const key = '\u0000\u00ff\u00c3"';
      const found = await ask({ kind: 'read', keys: [{ key, from: '' }], form });
      expect(found.items.map((item) => item.key)).toEqual([key]);
      await begin();
      expect(await write(found.items)).toEqual(written);
    });

    it('removes the keys that the source does not have, in every form', async () => {
      for (const form of [...forms, 'absent'] as const) {
        await region().run('SET', 'there', '1');
        await region().run('SET', 'expired', '1', 'PXAT', '1000');
        const found = await read(['there', 'gone', 'expired'], form);
        const expected = form === 'absent' ? ['gone', 'expired'] : ['there', 'gone', 'expired'];
        expect(found.items.map(({ key }) => key)).toEqual(expected);
        await begin();
        await region().run('SET', 'gone', 'stale');
        await region().run('SADD', 'expired', 'stale');
        expect(await write(found.items)).toEqual(written);
        expect(await digests(['gone', 'expired'])).toEqual([null, null]);
        expect(await region().run('GET', 'there')).toBe('"1"');
        await region().wipe();
        generation = 1;
      }
    });

    it('skips keys under a lock, and reports them, even if they do not exist', async () => {
      await region().run('SET', 'a', '1');
      await region().run('SET', 'é', '1');
      const parts = part(set('é', '2'), set('new', '2'));
      await send({ prepares: [prepareOf(1, ['é', 'new'], parts)] });
      for (const form of [...forms, 'absent'] as const) {
        const found = await read(['a', 'é', 'new'], form);
        expect(found.items.map(({ key }) => key)).toEqual(form === 'absent' ? [] : ['a']);
        expect(found.locked).toEqual([bytesOf('é'), 'new']);
      }
    });

    it('removes a key with an expiry first, since it may expire before it is copied', async () => {
      await region().run('SET', 'stays', 'v');
      await region().run('SET', 'expires', 'v', 'PXAT', '9999999999999');
      const found = await read(['stays', 'expires'], 'absent');
      expect(found.items.map(({ key }) => key)).toEqual(['expires']);
    });

    it('leaves a key absent at the target if it expired between read and write', async () => {
      const soon = Date.now() + 50;
      await region().run('SET', 'string', 'v', 'PXAT', String(soon));
      await region().run('HSET', 'hash', 'f', 'v');
      await region().run('PEXPIREAT', 'hash', String(soon));
      const found = await Promise.all(forms.map((form) => read(['string', 'hash'], form)));
      const isOver = async () => (await send({ lease: { reading: null, ttlMs: 1 } })).clock ?? 0;
      while ((await isOver()) <= soon + 1);
      await begin();
      for (const { items } of found) {
        await region().run('SET', 'string', 'stale');
        await region().run('SET', 'hash', 'stale');
        expect(await write(items)).toEqual(written);
        expect(await digests(['string', 'hash'])).toEqual([null, null]);
      }
    });
  });

  describe('a scan for a copy', () => {
    const scanAll = async (form: CopyForm, count: number) => {
      const items: CopyItem[] = [];
      let cursor: string | null = '0';
      while (cursor !== null) {
        const found: Read = await ask({ kind: 'scan', cursor, count, form });
        expect(found.total).toBeGreaterThanOrEqual(60);
        items.push(...found.items);
        cursor = found.cursor;
      }
      return items;
    };

    it('returns every key, and none of Lockstep’s own', async () => {
      const keys = Array.from({ length: 60 }, (_, index) => `é${index}`);
      for (const key of keys) await region().run('SET', key, key);
      await send({ prepares: [prepareOf(1, ['other'], part(set('other', '1')))] });
      for (const form of forms) {
        const names = (await scanAll(form, 7)).map(({ key }) => key);
        expect([...new Set(names)].sort()).toEqual(keys.map(bytesOf).sort());
      }
      expect(await scanAll('absent', 100)).toEqual([]);
    });

    it('returns all keys of the target, even in the middle of a copy', async () => {
      await begin();
      const keys = Array.from({ length: 30 }, (_, index) => `é${index}`);
      for (const key of keys) await region().run('SET', key, key);
      const names: string[] = [];
      let cursor: string | null = '0';
      while (cursor !== null) {
        const copy: CopyStep = { kind: 'list', cursor, count: 7 };
        const reply: CopyReply | null = (await send({ role: 'copying', generation, copy })).copy;
        if (reply?.kind !== 'listed') throw new Error('not listed');
        names.push(...reply.keys);
        cursor = reply.cursor;
      }
      expect([...new Set(names)].sort()).toEqual(keys.map(bytesOf).sort());
    });
  });

  describe('a step of a copy', () => {
    const large = limits.copyBytesPerStep;

    it('leaves keys that exceed its size for a later step, but always takes at least one', async () => {
      const keys = ['a', 'b', 'c', 'gone', 'd'];
      for (const key of ['a', 'b', 'c', 'd']) {
        await region().run('SET', key, 'x'.repeat(Math.floor(large * 0.4)));
      }
      for (const form of forms) {
        const found = await read(keys, form);
        expect(found.items.map(({ key }) => key)).toEqual(['a', 'b', 'gone']);
        expect(found.left).toEqual(['c', 'd']);
      }
      await region().run('SET', 'c', 'x'.repeat(large * 2));
      expect((await read(['a', 'c', 'b'], 'dump')).left).toEqual(['c', 'b']);
      expect((await read(['c', 'a', 'b'], 'dump')).left).toEqual(['a', 'b']);
      expect((await read(['a', 'b', 'c', 'd'], 'absent')).left).toEqual([]);
    });

    const values: readonly (readonly [type: string, fill: () => Promise<unknown>])[] = [
      ['string', () => region().run('SET', 'big', 'é'.repeat(large))],
      ['list', () => region().run('RPUSH', 'big', ...elements)],
      ['hash', () => region().run('HSET', 'big', ...elements)],
      ['set', () => region().run('SADD', 'big', ...elements)],
      [
        'zset',
        () => region().run('ZADD', 'big', ...elements.flatMap((item, at) => [`${at}.5`, item])),
      ],
    ];
    const elements = Array.from({ length: 600 }, (_, at) => `${at} é ${'x'.repeat(large / 250)}`);

    it.each(values)(
      'copies a large %s in pieces, and replaces the old value only with the last piece',
      async (_, make) => {
        await send({});
        await make();
        await region().run('PEXPIREAT', 'big', far);
        const [before] = await digests(['big']);
        const pieces = await piecesOf('big');
        expect(pieces.length).toBeGreaterThan(2);
        for (const { data } of pieces) expect(data.length).toBeLessThan(limits.roundBytes);
        await begin();
        await region().run('SET', 'big', 'old');
        const missing = await write(pieces.slice(1, 2));
        expect(missing).toMatchObject({ failed: [{ key: 'big' }] });
        // A piece is sent again, and the value is started again.
        for (const piece of [...pieces.slice(0, 2), ...pieces.slice(0, -1)]) {
          expect(await write([piece])).toEqual(written);
          expect(await region().run('GET', 'big')).toBe('"old"');
        }
        const last = pieces.slice(-1);
        expect(await write(last)).toEqual(written);
        expect(await digests(['big'])).toEqual([before]);
      },
    );

    const piecesOf = async (key: string) => {
      const pieces: CopyItem[] = [];
      let from: string | null = '';
      while (from !== null) {
        const copy: CopyStep = { kind: 'read', keys: [{ key, from }], form: 'dump' };
        const [item]: readonly CopyItem[] = (await ask(copy)).items;
        if (item === undefined) throw new Error('the source returned no piece');
        pieces.push(item);
        from = item.next;
      }
      return pieces;
    };

    it('removes a value whose source was deleted between two pieces', async () => {
      await send({});
      await region().run('SET', 'big', 'x'.repeat(large + 1));
      const [first] = await piecesOf('big');
      const from = first?.next ?? '';
      await region().run('DEL', 'big');
      const copy: CopyStep = { kind: 'read', keys: [{ key: 'big', from }], form: 'dump' };
      const gone = await ask(copy);
      await begin();
      await region().run('SET', 'big', 'stale');
      expect(await write(gone.items)).toEqual(written);
      expect(await digests(['big'])).toEqual([null]);
    });
  });
}
