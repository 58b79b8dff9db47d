import { describe, expect, it } from 'vitest';
import { CoordinatorStorage } from '../../functions/coordinator/storage/coordinator-storage.ts';
import type { Callback } from '../../shared/contracts/webhooks-and-feed.ts';
import type { TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { MemoryStorage } from './sqlite.ts';
import { retention, writeOf } from './stored.ts';

const callback: Callback = {
  endpoint: 'cb_one',
  url: 'https://example.com/hook',
  secret: null,
  events: ['write.confirmed'],
  values: false,
};

function commit(storage: CoordinatorStorage, sequence: number, decidedAt: number): void {
  const write = { ...writeOf(sequence, decidedAt), callback };
  const transaction: TransactionOrder = [1, sequence];
  const { keys } = write;
  storage.write([
    { kind: 'commit', transaction, keys, writes: [write], sequence, now: decidedAt, missedBy: [] },
    {
      kind: 'queue-events',
      events: [
        {
          endpoint: 'cb_one',
          id: `0-${sequence}`,
          type: 'write.committed',
          at: 1,
          write,
          values: false,
        },
      ],
      callback,
    },
  ]);
}

function confirm(storage: CoordinatorStorage, sequence: number, now: number): void {
  storage.write([{ kind: 'confirm', transactions: [[1, sequence]], now }]);
}

function begun(memory: MemoryStorage) {
  const storage = new CoordinatorStorage(memory, retention, 0);
  return { storage, stored: storage.begin(1) };
}

/** Keeps only the data that must be kept. */
const drop = { keptMs: 0, keptWrites: 100 };
const all = { limit: 100, prefixes: [], values: false, members: false };

describe('dropping old data', () => {
  it('keeps an unconfirmed write, and the feed after it without a gap', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    for (const sequence of [1, 2, 3]) commit(storage, sequence, sequence);
    confirm(storage, 1, 10);
    confirm(storage, 3, 10);
    storage.prune(10, drop);
    expect(storage.changes.page({ ...all, since: 0 }, 3)).toEqual({ kind: 'expired', oldest: 2 });
    const page = storage.changes.page({ ...all, since: 1 }, 3);
    expect(page).toMatchObject({ changes: [{ sequence: 2 }, { sequence: 3 }], next: 3 });
    const { stored } = begun(memory);
    expect(stored.unconfirmed).toMatchObject([{ writes: [{ callback, keys: ['key:2'] }] }]);
  });

  it('drops all confirmed writes, and reports an older cursor as expired', () => {
    const { storage } = begun(new MemoryStorage());
    for (const sequence of [1, 2]) {
      commit(storage, sequence, sequence);
      confirm(storage, sequence, 10);
    }
    storage.prune(10, drop);
    expect(storage.changes.page({ ...all, since: 1 }, 2)).toEqual({ kind: 'expired', oldest: 3 });
    const end = { kind: 'page', changes: [], next: 2, newest: 2 };
    expect(storage.changes.page({ ...all, since: 2 }, 2)).toEqual(end);
    expect(storage.changes.page({ ...all, since: 3 }, 2)).toEqual({ kind: 'ahead', newest: 2 });
  });

  it('keeps the target of callbacks while their events are in the outbox, and no longer', () => {
    const { storage } = begun(new MemoryStorage());
    commit(storage, 1, 1);
    storage.prune(10, drop);
    const { url, secret } = callback;
    expect(storage.subscriptions.targetOf('cb_one')).toEqual({ url, secret });
    storage.subscriptions.settle(storage.subscriptions.outboxOf('cb_one', 10));
    storage.prune(10, drop);
    expect(storage.subscriptions.targetOf('cb_one')).toBeNull();
  });
});

describe('a page of the log', () => {
  it('skips filtered changes, up to the position at which the next page begins', () => {
    const { storage } = begun(new MemoryStorage());
    const count = limits.changesPerPage + 2;
    for (let sequence = 1; sequence <= count; sequence += 1) commit(storage, sequence, sequence);
    const asked = { ...all, prefixes: [`key:${count}`] };
    const first = storage.changes.page({ ...asked, since: 0 }, count);
    expect(first).toMatchObject({ changes: [], next: limits.changesPerPage });
    const second = storage.changes.page({ ...asked, since: limits.changesPerPage }, count);
    expect(second).toMatchObject({ changes: [{ sequence: count }], next: count });
  });
});

describe('a recovery', () => {
  it('goes through the writes since a given time in steps, each once, and says which are confirmed', () => {
    const { storage } = begun(new MemoryStorage());
    const count = 2 * limits.writesPerRecoveryStep + 1;
    for (let sequence = 1; sequence <= count; sequence += 1) commit(storage, sequence, sequence);
    confirm(storage, 3, 500);
    const seen: number[] = [];
    const steps: number[] = [];
    let place = storage.changes.sequenceBefore(3);
    expect(place).toBe(2);
    while (place !== null) {
      const step = storage.changes.recoverable(place);
      if (seen.length === 0) expect(step[0]).toMatchObject({ sequence: 3, confirmedAt: 500 });
      else expect(step[0]?.confirmedAt ?? null).toBeNull();
      steps.push(step.length);
      seen.push(...step.map(({ sequence }) => sequence));
      place = step.at(-1)?.sequence ?? null;
    }
    expect(seen).toEqual(Array.from({ length: count - 2 }, (_, index) => index + 3));
    expect(Math.max(...steps)).toBe(limits.writesPerRecoveryStep);
    expect(storage.changes.sequenceBefore(count + 1)).toBeNull();
  });
});
