import { describe, expect, vi } from 'vitest';
import type { LifeEnvironment } from '../../functions/coordinator/coordinator.ts';
import type { RpcCall } from '../../shared/contracts/rpc.ts';
import { limits } from '../../shared/limits.ts';
import { voterOf } from '../protocol/stored.ts';
import { it as clockedIt } from './fake-clock.ts';
import { LifeUnderTest } from './life.ts';
import { MemoryStorage } from './sqlite.ts';
import { begun, commit, confirm } from './stored.ts';

const hourMs = 60 * 60 * 1_000;

/** Tests in which no region answers, and the clock begins long after the stored writes. */
const it = clockedIt.extend('silence', { auto: true }, ({ onTestFinished }) => {
  vi.setSystemTime(hourMs);
  vi.stubGlobal(
    'fetch',
    vi.fn(() => Promise.reject(new Error('nobody is there'))),
  );
  onTestFinished(() => void vi.unstubAllGlobals());
});

/** The real one, as timers are fake while a test runs. */
const immediately = setImmediate;

/** A feed without followers, which accepts all published changes. */
function feedThat(notes: (call: RpcCall) => void): LifeEnvironment['FEED'] {
  const call = async (given: RpcCall) => {
    notes(given);
    return { kind: 'answered', value: 0 } as const;
  };
  return { getByName: () => ({ call }) };
}

/**
 * The storage of an instance that had carried out a write, with nothing open anywhere; its idle record is stored, or
 * not yet.
 */
function leftBehind(isResting: boolean): MemoryStorage {
  const memory = new MemoryStorage();
  const { storage } = begun(memory);
  const regions = ['alpha', 'beta'].map((id) => voterOf(id, { pair: [3, 'x'] }));
  storage.write([
    ...regions.map((region) => ({ kind: 'region' as const, region })),
    { kind: 'members', epoch: 1, changes: [] },
  ]);
  commit(storage, 1);
  confirm(storage, 1, 2);
  storage.write([{ kind: 'rest', isResting }]);
  return memory;
}

// R44: an idle deployment costs its regions nothing.
describe('an instance that finds nothing open', () => {
  it('sends no request to a region in an hour, even if it is called, and sets no alarm', async () => {
    const memory = leftBehind(true);
    for (let life = 0; life < 4; life += 1) {
      const { methods, alarms } = new LifeUnderTest(
        memory,
        {},
        feedThat(() => {}),
      );
      await methods.describe();
      await methods.attend([]);
      await methods.follow();
      await vi.advanceTimersByTimeAsync(hourMs / 4);
      expect(alarms).toEqual([]);
    }
    expect(fetch).not.toHaveBeenCalled();
  });

  it('asks each region for older locks if it was not stored as idle', async () => {
    new LifeUnderTest(leftBehind(false));
    await vi.advanceTimersByTimeAsync(limits.commitLingerMs);
    // The first requests are digested before they leave, which takes real time.
    while (vi.mocked(fetch).mock.calls.length < 2) await new Promise((go) => immediately(go));
    expect(fetch).toHaveBeenCalledTimes(2);
  });

  it('sends the newest change to the feed once, as the last instance may not have', async () => {
    const published: unknown[] = [];
    new LifeUnderTest(
      leftBehind(true),
      {},
      feedThat((call) => published.push(call.values)),
    );
    await vi.advanceTimersByTimeAsync(hourMs);
    expect(published).toMatchObject([[[{ sequence: 1, keys: ['key:1'] }]]]);
  });
});
