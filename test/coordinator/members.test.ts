import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { Leaving, Membership, StoredRegion } from '../../shared/protocol/io/stored.ts';
import { MemoryStorage } from './sqlite.ts';
import { begun, change, changeAt, commit, pruneAll } from './stored.ts';

const leaving: Leaving = {
  cause: 'lost',
  detail: 'it was wiped',
  whole: true,
  manualReturn: false,
};

const memberships: readonly Membership[] = [
  { state: 'voter', since: 1, leaving: null },
  { state: 'voter', since: 1, leaving },
  { state: 'out', since: 2, ...leaving },
  { state: 'copying', since: 3, token: 'token', ...leaving },
];

function regionOf(region: string, membership: Membership): StoredRegion {
  return {
    region,
    generation: 7,
    former: [5, 3],
    begun: true,
    takes: 0,
    agreed: 12,
    pair: [3, 'mark'],
    membership,
  };
}

describe('the stored members', () => {
  it('are none at first, in epoch 0', () => {
    const { stored } = begun(new MemoryStorage());
    expect(stored).toMatchObject({ epoch: 0, regions: [], missed: [], blocked: [] });
  });

  it('are none, in epoch 0, after a version without members', () => {
    const memory = new MemoryStorage();
    memory.sql.exec(`
      CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
      CREATE TABLE region (id TEXT PRIMARY KEY, begun INTEGER NOT NULL, counter INTEGER, mark TEXT, lost TEXT);
      CREATE TABLE change (sequence INTEGER PRIMARY KEY, write_id TEXT NOT NULL, incarnation INTEGER NOT NULL,
        number INTEGER NOT NULL, decided_at INTEGER NOT NULL, keys TEXT NOT NULL, commands TEXT NOT NULL, callback TEXT);
      CREATE INDEX change_transaction ON change (incarnation, number);
      INSERT INTO meta VALUES ('generation', 5), ('epoch', 1), ('incarnation', 3), ('sequence', 9);
      INSERT INTO region VALUES ('alpha', 1, 4, 'mark', NULL);
      INSERT INTO change VALUES (9, '0-9', 3, 1, 1, '[]', '[]', NULL);
    `);
    const { storage, stored } = begun(memory);
    expect(stored).toMatchObject({ generation: 5, epoch: 0, incarnation: 4, sequence: 9 });
    expect(stored.regions).toEqual([]);
    const query = { since: 8, limit: 10, prefixes: [], values: false, members: true };
    expect(storage.changes.page(query, 9)).toEqual({ kind: 'expired', oldest: 10 });
    commit(storage, 10);
    expect(storage.changes.page({ ...query, since: 9 }, 10)).toMatchObject({ next: 10 });
  });

  it.each(memberships)('come back after a restart as they were: %o', (membership) => {
    const memory = new MemoryStorage();
    const alpha = regionOf('alpha', membership);
    const beta = { ...regionOf('beta', membership), begun: false, pair: null };
    begun(memory).storage.write([
      { kind: 'region', region: { ...alpha, generation: 6, pair: [1, 'older'] } },
      { kind: 'region', region: beta },
      { kind: 'region', region: alpha },
    ]);
    expect(begun(memory).stored.regions).toEqual([alpha, beta]);
  });

  it('do not include a forgotten region, nor its missed keys', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    const [voter = { state: 'voter', since: 1, leaving: null }] = memberships;
    storage.write([
      { kind: 'region', region: regionOf('alpha', voter) },
      { kind: 'region', region: regionOf('beta', voter) },
      { kind: 'missed', missed: { region: 'alpha', keys: [['a', 1]] } },
      { kind: 'missed', missed: { region: 'beta', keys: [['a', 1]] } },
      { kind: 'forget', region: 'beta' },
    ]);
    const { stored } = begun(memory);
    expect(stored.regions.map(({ region }) => region)).toEqual(['alpha']);
    expect(stored.missed).toEqual([{ region: 'alpha', keys: [['a', 1]] }]);
  });
});

describe('the missed keys', () => {
  it('have the highest missed sequence, regardless of the order in which they were stored', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    storage.write([
      {
        kind: 'missed',
        missed: {
          region: 'beta',
          keys: [
            ['a', 5],
            ['b', 5],
          ],
        },
      },
      { kind: 'missed', missed: { region: 'beta', keys: [['a', 3]] } },
      { kind: 'missed', missed: { region: 'beta', keys: [['b', 8]] } },
      { kind: 'missed', missed: { region: 'alpha', keys: [['b', 2]] } },
    ]);
    expect(begun(memory).stored.missed).toEqual([
      { region: 'alpha', keys: [['b', 2]] },
      {
        region: 'beta',
        keys: [
          ['a', 5],
          ['b', 8],
        ],
      },
    ]);
  });

  it('come from each commit in which their region had no vote', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    commit(storage, 1, { key: 'a', missedBy: ['beta', 'gamma'] });
    commit(storage, 2, { key: 'a', missedBy: ['gamma'] });
    commit(storage, 3, { key: 'c' });
    expect(begun(memory).stored.missed).toEqual([
      { region: 'beta', keys: [['a', 1]] },
      { region: 'gamma', keys: [['a', 2]] },
    ]);
  });

  it('are cleared one by one, or all of a region', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    const keys = [
      ['', 1],
      ['a', 1],
      ['a\u0000b', 1],
      ['ä', 1],
    ] as const;
    storage.write([
      { kind: 'missed', missed: { region: 'beta', keys } },
      { kind: 'missed', missed: { region: 'gamma', keys } },
      { kind: 'copied', region: 'beta', keys: ['', 'ä'] },
      { kind: 'copied', region: 'gamma', keys: null },
    ]);
    const left = [
      ['a', 1],
      ['a\u0000b', 1],
    ];
    expect(begun(memory).stored.missed).toEqual([{ region: 'beta', keys: left }]);
    storage.write([{ kind: 'copied', region: 'beta', keys: ['a'] }]);
    expect(begun(memory).stored.missed).toEqual([{ region: 'beta', keys: [['a\u0000b', 1]] }]);
  });
});

describe('the blocked keys', () => {
  it('stay until each is unblocked, with its latest detail', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    const blockedOf = (key: string, detail: string) => ({ key, detail });
    storage.write([
      { kind: 'block', keys: [blockedOf('a', 'first'), blockedOf('b', 'first')] },
      { kind: 'block', keys: [blockedOf('a', 'second')] },
      { kind: 'unblock', keys: ['b', 'c'] },
    ]);
    expect(begun(memory).stored.blocked).toEqual([blockedOf('a', 'second')]);
  });
});

describe('a change of members', () => {
  it('sets the epoch, and is the newest of the shard', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    commit(storage, 1);
    storage.write([{ kind: 'members', epoch: 4, changes: [changeAt(2), changeAt(3)] }]);
    expect(begun(memory).stored).toMatchObject({ epoch: 4, sequence: 3 });
  });

  it('does not take the sequence back if it is stored after a newer commit of the same step', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    commit(storage, 2);
    change(storage, 1);
    expect(begun(memory).stored.sequence).toBe(2);
  });

  it('is stored with all of its step, or not at all', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    change(storage, 1);
    expect(() =>
      storage.write([
        { kind: 'missed', missed: { region: 'beta', keys: [['a', 1]] } },
        { kind: 'members', epoch: 9, changes: [changeAt(1)] },
      ]),
    ).toThrow();
    expect(begun(memory).stored).toMatchObject({ epoch: 101, missed: [] });
  });

  it('is queued once per subscribed endpoint', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    const type = 'region.out';
    const id = `beta.${type}.6`;
    const events = ['ep_one', 'ep_two'].map((endpoint) => {
      return { endpoint, id, type, change: changeAt(6, 1_000) } as const;
    });
    storage.write([{ kind: 'queue-region-events', events }]);
    const queued = begun(memory).storage.subscriptions.outboxOf('ep_two', 10).events;
    expect(queued).toEqual([{ endpoint: 'ep_two', id, type, at: 1_000, body: expect.any(String) }]);
    expect(JSON.parse(queued[0]?.body ?? '')).toEqual({
      type,
      timestamp: '1970-01-01T00:00:01.000Z',
      data: {
        region: 'beta',
        sequence: 6,
        epoch: 106,
        cause: 'silent',
        detail: 'it did not answer',
      },
    });
  });
});

describe('the history of members', () => {
  it('is paged from the newest to the oldest, each entry once', () => {
    const { storage } = begun(new MemoryStorage());
    for (let sequence = 1; sequence <= 5; sequence += 1) change(storage, sequence);
    const pages: number[][] = [];
    let before: number | null = null;
    for (;;) {
      const page: readonly { readonly sequence: number }[] = storage.members.history(before, 2);
      if (page.length === 0) break;
      pages.push(page.map(({ sequence }) => sequence));
      before = page.at(-1)?.sequence ?? null;
    }
    expect(pages).toEqual([[5, 4], [3, 2], [1]]);
    expect(storage.members.history(2, 10)).toEqual([changeAt(1)]);
  });

  it('outlives the retention of writes, and a restart', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    change(storage, 1);
    pruneAll(storage, 1_000_000, { keptMs: 0, keptWrites: 1 });
    expect(begun(memory).storage.members.history(null, 10)).toEqual([changeAt(1)]);
  });

  it('keeps a bounded number of entries, the newest', () => {
    const { storage } = begun(new MemoryStorage());
    const kept = limits.memberChangesKept;
    const changes = Array.from({ length: kept + 2 }, (_, index) => changeAt(index + 1));
    storage.write([{ kind: 'members', epoch: 1, changes }]);
    pruneAll(storage, 0, { keptMs: 1, keptWrites: 1 });
    const history = storage.members.history(null, 2 * kept);
    expect(history).toHaveLength(kept);
    expect([history[0]?.sequence, history.at(-1)?.sequence]).toEqual([kept + 2, 3]);
  });
});
