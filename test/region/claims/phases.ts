import { describe, expect, it } from 'vitest';
import type { CopyStep, Round } from '../../../shared/contracts/round.ts';
import {
  abortOf,
  commitOf,
  executed,
  increment,
  part,
  prepareOf,
  roundOf,
  set,
} from '../fixtures.ts';
import type { Implementation } from '../implementations.ts';

const begin = (given: Partial<Extract<CopyStep, { kind: 'begin' }>> = {}): CopyStep => ({
  kind: 'begin',
  token: 'first',
  number: 1,
  replaces: [],
  ...given,
});

/** Claims about the beginning and the end of a copy, and about late steps. */
export function claimPhases(region: () => Implementation): void {
  const ask = (given: Partial<Round>) => region().round(roundOf(given));
  const send = async (given: Partial<Round>) => executed(await ask(given));
  const step = async (copy: CopyStep, given: Partial<Round> = {}) =>
    (await send({ role: 'copying', begin: false, copy, ...given })).copy;
  const write = (token: string, number: number): CopyStep => ({
    kind: 'write',
    token,
    number,
    data: [],
  });
  const prepare = (sequence: number) => prepareOf(sequence, ['k'], part(increment('k')));
  const refusedBy = (by: string) => ({ kind: 'refused', by });
  const written = { kind: 'written', failed: [] };

  describe('the beginning of a copy', () => {
    it('sets the generation of a region without state, which no other step does', async () => {
      for (const role of ['copying', 'out'] as const) {
        const refusal = { kind: 'generation', has: 0, keys: 0 };
        expect(await ask({ role })).toEqual({ kind: 'refused', refusal });
      }
      expect(await step(begin(), { generation: 7 })).toEqual({ kind: 'begun' });
      expect((await ask({ generation: 7, epoch: 2 })).kind).toBe('executed');
    });

    it('accepts a region that holds keys only if the round allows it, and leaves the keys', async () => {
      await region().run('SET', 'x', '1');
      const copying = { role: 'copying', generation: 4, copy: begin() } as const;
      const refusal = { kind: 'generation', has: 0, keys: 1 };
      expect(await ask({ ...copying, takes: 0 })).toEqual({ kind: 'refused', refusal });
      expect(await region().run('GET', 'x')).toBe('"1"');
      expect(await step(begin(), { generation: 4, takes: 1 })).toEqual({ kind: 'begun' });
    });

    it('replaces a generation that it names, and no other', async () => {
      const refusal = { kind: 'generation', has: 5, keys: 0 };
      await send({ generation: 5 });
      const copying = { role: 'copying', generation: 4 } as const;
      for (const replaces of [[], [3, 4]]) {
        const result = await ask({ ...copying, copy: begin({ replaces }) });
        expect(result).toEqual({ kind: 'refused', refusal });
      }
      expect(await step(begin({ replaces: [3, 5] }), copying)).toEqual({ kind: 'begun' });
      const other = await ask({ role: 'copying', generation: 8, copy: begin({ replaces: [5] }) });
      expect(other).toEqual({ kind: 'refused', refusal: { kind: 'generation', has: 4, keys: 0 } });
    });

    it('replaces a state that an operator agreed to, with that number of keys and no more', async () => {
      await send({ generation: 5 });
      await region().run('SET', 'x', '1');
      const copying = { role: 'copying', generation: 4 } as const;
      const refusal = { kind: 'generation', has: 5, keys: 1 };
      for (const [agreed, takes] of [
        [5, 0],
        [6, 1],
      ] as const) {
        const result = await ask({ ...copying, takes, copy: begin({ agreed }) });
        expect(result).toEqual({ kind: 'refused', refusal });
      }
      expect(await step(begin({ agreed: 5 }), { ...copying, takes: 1 })).toEqual({ kind: 'begun' });
    });

    it('starts a history in a new generation, and keeps the users’ keys', async () => {
      await region().run('SET', 'user', 'v');
      await send({ epoch: 9, incarnation: 9, decisions: [abortOf(1, ['k'])] });
      const copy = begin({ replaces: [1] });
      const reply = await send({ role: 'copying', generation: 2, nonce: 'new', copy });
      expect(reply.history).toEqual([[1, 'new']]);
      expect(await region().run('GET', 'user')).toBe('"v"');
      const next = await step(write('first', 2), { generation: 2, lastAcknowledged: [1, 'new'] });
      expect(next).toEqual(written);
    });

    it('continues the history of the same generation, whose pair it names', async () => {
      await send({ nonce: 'old', decisions: [abortOf(1, ['k'])] });
      const lost = await ask({ role: 'copying', lastAcknowledged: [1, 'other'], copy: begin() });
      expect(lost).toEqual({ kind: 'refused', refusal: { kind: 'lost' } });
      const lastAcknowledged = [1, 'old'] as const;
      const reply = await send({ role: 'copying', lastAcknowledged, nonce: 'new', copy: begin() });
      expect(reply.history).toEqual([
        [1, 'old'],
        [2, 'new'],
      ]);
    });

    it('drops staged transactions, so that a late commit finds nothing and changes nothing', async () => {
      for (const generation of [1, 2]) {
        await region().run('SET', 'k', '1');
        await send({ prepares: [prepare(1)] });
        await send({ decisions: [abortOf(7, ['other'])] });
        const lowWatermark = [1, 5] as const;
        await step(begin({ replaces: [1] }), { generation, lowWatermark, epoch: 2 });
        const decisions = [commitOf(1, ['k']), commitOf(6, ['k']), commitOf(7, ['other'])];
        const late = await send({ role: 'out', generation, epoch: 2, decisions });
        expect(late.decisions).toEqual(['acknowledged', 'lost', 'lost']);
        expect(await region().run('GET', 'k')).toBe('"1"');
        const locks = await region().inspect({ kind: 'locks', count: 10 });
        expect(locks).toMatchObject({ keys: [], more: false });
        await region().wipe();
      }
    });
  });

  describe('a copy phase', () => {
    it('makes the region refuse rounds for a voter until one of a higher epoch ends the copy', async () => {
      await step(begin(), { epoch: 3 });
      for (const epoch of [2, 3]) {
        const result = await ask({ epoch, incarnation: 9, prepares: [prepare(1)] });
        expect(result).toEqual({ kind: 'refused', refusal: { kind: 'phase' } });
      }
      expect(await step(write('first', 2), { epoch: 3 })).toEqual(written);
      const reply = await send({ epoch: 4, prepares: [prepare(1)] });
      expect(reply.votes[0]?.kind).toBe('yes');
      expect(await step(write('first', 3), { epoch: 4 })).toEqual(refusedBy('token'));
    });

    it('is not affected by rounds for a region that is out', async () => {
      await step(begin());
      await send({ role: 'out', epoch: 2 });
      await send({ role: 'copying', epoch: 3 });
      expect(await step(write('first', 2), { epoch: 3 })).toEqual(written);
    });

    it('makes the region refuse to be a source', async () => {
      await step(begin());
      const scan = { kind: 'scan', cursor: '0', count: 10, form: 'dump' } as const;
      expect(await step(scan)).toEqual(refusedBy('token'));
      const read = { kind: 'read', keys: [{ key: 'k', from: '' }], form: 'dump' } as const;
      expect(await step(read)).toEqual(refusedBy('token'));
    });
  });

  describe('a step of a copy', () => {
    it('is refused if its token is not that of the phase', async () => {
      await send({});
      expect(await step(write('first', 1))).toEqual(refusedBy('token'));
      await step(begin());
      expect(await step(write('second', 9))).toEqual(refusedBy('token'));
    });

    it('is refused if its number is not above the highest seen', async () => {
      expect(await step(begin({ number: 3 }))).toEqual({ kind: 'begun' });
      expect(await step(write('first', 3))).toEqual(refusedBy('number'));
      expect(await step(write('first', 5))).toEqual(written);
      expect(await step(write('first', 4))).toEqual(refusedBy('number'));
      expect(await step(begin({ number: 5 }))).toEqual(refusedBy('number'));
      expect(await step(begin({ number: 6 }))).toEqual({ kind: 'begun' });
      expect(await step(begin({ token: 'second', number: 1 }))).toEqual({ kind: 'begun' });
      expect(await step(write('second', 2))).toEqual(written);
      expect(await step(write('first', 9))).toEqual(refusedBy('token'));
    });

    it('is refused in a lower epoch and by a lower incarnation than the highest seen', async () => {
      await send({ epoch: 2, incarnation: 2 });
      await region().run('SET', 'k', '1');
      await send({ epoch: 2, incarnation: 2, prepares: [{ ...prepare(1), transaction: [2, 1] }] });
      const list = { kind: 'list', cursor: '0', count: 10 } as const;
      for (const [epoch, incarnation] of [
        [1, 2],
        [2, 1],
      ] as const) {
        for (const copy of [begin(), list]) {
          expect(await step(copy, { epoch, incarnation })).toEqual(refusedBy('epoch'));
        }
      }
      const locks = await region().inspect({ kind: 'locks', count: 10 });
      expect(locks).toMatchObject({ keys: [{ key: 'k', holder: [2, 1] }] });
      expect(await step(begin(), { epoch: 2, incarnation: 2 })).toEqual({ kind: 'begun' });
    });

    it('leaves a pair, even if it is refused', async () => {
      const first = await send({ nonce: 'a', copy: write('none', 1) });
      expect(first.copy).toEqual(refusedBy('token'));
      const second = await send({ nonce: 'b', copy: { kind: 'list', cursor: '0', count: 10 } });
      expect(second.history).toEqual([
        [1, expect.stringMatching(/^a\.[0-9a-f]{8}$/)],
        [2, 'b'],
      ]);
    });

    it('runs after the decisions and prepares of its round', async () => {
      await send({ prepares: [prepareOf(1, ['a'], part(set('a', 'new')))] });
      const reply = await send({
        decisions: [commitOf(1, ['a'])],
        prepares: [prepareOf(2, ['b'], part(set('b', 'new')))],
        copy: {
          kind: 'read',
          keys: ['a', 'b'].map((key) => ({ key, from: '' })),
          form: 'logical',
        },
      });
      const copy = reply.copy?.kind === 'read' ? reply.copy : null;
      expect(copy?.items.map(({ key }) => key)).toEqual(['a']);
      expect(copy?.locked).toEqual(['b']);
    });
  });
}
