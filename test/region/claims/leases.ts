import { describe, expect, it } from 'vitest';
import type { Round, SnapshotRequest } from '../../../shared/contracts/round.ts';
import { limits } from '../../../shared/limits.ts';
import {
  abortOf,
  command,
  executed,
  part,
  prepareOf,
  roundOf,
  set,
  snapshotOf,
} from '../fixtures.ts';
import type { Implementation } from '../implementations.ts';
import { repliesOfJson } from '../replies.ts';

const refused = { kind: 'refused', refusal: { kind: 'lease' } };
const ttlMs = 60_000;

/** Claims about leases, and about reads that need one. */
export function claimLeases(region: () => Implementation): void {
  const send = async (given: Partial<Round>) => executed(await region().round(roundOf(given)));
  const read = (given: Partial<SnapshotRequest> = {}) =>
    region().snapshot(snapshotOf(['k'], [command(['GET', 'k'])], { leased: true, ...given }));
  const clock = async () => {
    const reply = await send({ lease: { reading: null, ttlMs } });
    if (reply.clock === null) throw new Error('the region returned no clock');
    return reply.clock;
  };
  const grant = async (given: Partial<Round> = {}) =>
    send({ lease: { reading: await clock(), ttlMs }, ...given });
  const begin = { kind: 'begin', token: 'first', number: 1, replaces: [1] } as const;

  describe('a lease', () => {
    it('is granted only by a round that carries a reading of the clock', async () => {
      expect((await send({})).clock).toBe(null);
      const reading = await clock();
      expect(Math.abs(reading - Date.now())).toBeLessThan(limits.clockSkewMs);
      expect(await read()).toEqual(refused);
      expect((await send({ lease: { reading, ttlMs } })).clock).toBeGreaterThanOrEqual(reading);
      expect(await read()).toMatchObject({ kind: 'read' });
    });

    it('lasts from that reading on, so that a late round grants none, and shortens none', async () => {
      const late = { reading: (await clock()) - 10_000, ttlMs: limits.leaseTtlMs };
      await send({ lease: late });
      expect(await read()).toEqual(refused);
      await grant();
      await send({ lease: late });
      await send({ lease: { reading: late.reading, ttlMs: 11_000 } });
      expect(await read()).toMatchObject({ kind: 'read' });
    });

    it('is granted only to a voter', async () => {
      await send({});
      await grant({ role: 'out' });
      await grant({ role: 'copying' });
      expect(await read()).toEqual(refused);
    });

    it('is granted in no epoch and by no incarnation lower than the highest seen', async () => {
      await send({ epoch: 2, incarnation: 2 });
      await grant({ epoch: 1, incarnation: 2 });
      await grant({ epoch: 2, incarnation: 1 });
      expect(await read()).toEqual(refused);
      await grant({ epoch: 2, incarnation: 2 });
      expect(await read()).toMatchObject({ kind: 'read' });
    });

    it('is not granted by a round that is refused', async () => {
      const reading = await clock();
      const result = await region().round(
        roundOf({ lastAcknowledged: [1, 'x'], lease: { reading, ttlMs } }),
      );
      expect(result.kind).toBe('refused');
      expect(await read()).toEqual(refused);
    });

    it('ends when a copy begins, in the same generation and in a new one', async () => {
      for (const generation of [1, 2]) {
        await grant();
        await send({ generation, role: 'copying', copy: begin });
        expect(await read({ generation })).toEqual(refused);
        await send({ generation, epoch: 2 });
        expect(await read({ generation })).toEqual(refused);
        await region().wipe();
      }
    });

    it('is granted again by a round that begins a copy', async () => {
      const lease = { reading: Date.now(), ttlMs: 3_600_000 };
      await send({ lease });
      await send({ lease, copy: begin });
      await send({ epoch: 2 });
      expect(await read()).toMatchObject({ kind: 'read' });
    });

    it('is required only by a strong read that bypasses the coordinator', async () => {
      await send({});
      await region().run('SET', 'k', 'v');
      const expected = { kind: 'read', replies: repliesOfJson('["v"]') };
      expect(await read({ leased: false })).toMatchObject(expected);
      expect(await read({ strong: false })).toMatchObject(expected);
      expect(await read()).toEqual(refused);
    });
  });

  describe('a region that is being copied', () => {
    it('refuses strong reads, with a lease or without, and answers others as before', async () => {
      await send({ role: 'copying', copy: begin });
      await region().run('SET', 'k', 'v');
      expect(await read({ leased: false })).toEqual(refused);
      expect(await read()).toEqual(refused);
      expect(await read({ strong: false })).toMatchObject({ replies: repliesOfJson('["v"]') });
      await send({ epoch: 2 });
      expect(await read({ leased: false })).toMatchObject({ replies: repliesOfJson('["v"]') });
    });
  });

  describe('a snapshot that names a pair', () => {
    it('is refused if the region has lost the pair, or no longer keeps it', async () => {
      await send({ nonce: 'one', decisions: [abortOf(1, ['k'])] });
      expect(await read({ leased: false, lastAcknowledged: [1, 'one'] })).toMatchObject({
        kind: 'read',
      });
      const lost = { kind: 'refused', refusal: { kind: 'lost' } };
      expect(await read({ leased: false, lastAcknowledged: [1, 'other'] })).toEqual(lost);
      expect(await read({ leased: false, lastAcknowledged: [2, 'one'] })).toEqual(lost);
      for (let index = 0; index < limits.historyPairs; index += 1) {
        await send({ decisions: [abortOf(index + 2, ['k'])] });
      }
      const old = { kind: 'refused', refusal: { kind: 'history' } };
      expect(await read({ leased: false, lastAcknowledged: [1, 'one'] })).toEqual(old);
    });

    it('settles nothing if it is refused', async () => {
      await send({ prepares: [prepareOf(1, ['k'], part(set('k', 'v')))] });
      const settle = [{ transaction: [1, 1], outcome: 'commit', keys: ['k'] }] as const;
      expect(await read({ settle })).toEqual(refused);
      expect(await region().run('GET', 'k')).toBe('null');
    });
  });
}
