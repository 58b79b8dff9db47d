import { describe, expect, it } from 'vitest';
import type { WriteRecord } from '../../shared/contracts/coordinator.ts';
import type { TransactionOrder } from '../../shared/ids.ts';
import type { StorageWrite } from '../../shared/protocol/io/ready.ts';
import type {
  DecidedWrite,
  Stored,
  StoredLoan,
  StoredRegion,
} from '../../shared/protocol/io/stored.ts';
import { Random } from '../simulation/random.ts';
import { Tables } from '../simulation/storage.ts';
import { MemoryStorage } from './sqlite.ts';
import { begun, writeOf } from './stored.ts';

/**
 * The storage against the plain tables of the simulation: the same steps go into both, lives end at random, and both
 * must have the same state and answer every look-up alike.
 */

/** Makes steps as the core could. */
class Steps {
  sequence = 0;
  number = 0;
  now = 1_000;
  readonly transactions: TransactionOrder[] = [];
  readonly records: WriteRecord[] = [];
  readonly #random: Random;
  readonly #takesPart: boolean;
  readonly #open: TransactionOrder[] = [];
  readonly #loans: StoredLoan[] = [];
  /** The joint commits that guests have yet to acknowledge. */
  readonly #owed: { readonly transaction: TransactionOrder; readonly guest: number }[] = [];
  readonly #pairs = new Map<string, number>();

  /** `takesPart`: in joint writes too. */
  constructor(random: Random, takesPart = false) {
    this.#random = random;
    this.#takesPart = takesPart;
  }

  /** The storage writes of a step. */
  next(): readonly StorageWrite[] {
    const random = this.#random;
    this.now += random.between(0, 5);
    const writes: StorageWrite[] = [];
    for (let count = random.between(0, 2); count > 0; count -= 1) writes.push(this.#commit());
    if (random.chance(0.2)) writes.push(this.#reject());
    if (this.#takesPart && random.chance(0.3)) writes.push(...this.#joint());
    if (random.chance(0.7)) writes.push(...this.#confirm());
    if (random.chance(0.3)) writes.push(this.#region());
    if (random.chance(0.05)) writes.push({ kind: 'rest', isResting: random.chance(0.5) });
    if (random.chance(0.05)) writes.push({ kind: 'clock', now: this.now });
    if (random.chance(0.05)) writes.push(this.#members());
    if (random.chance(0.05)) writes.push({ kind: 'block', keys: [{ key: 'k', detail: 'd' }] });
    if (random.chance(0.03)) writes.push({ kind: 'unblock', keys: ['k'] });
    return writes;
  }

  #commit(): StorageWrite {
    const random = this.#random;
    this.number += random.between(1, 3);
    const transaction: TransactionOrder = [1, this.number];
    const count = random.pick([1, 1, 2, 10]);
    const keys = Array.from(
      { length: random.pick([1, 1, 1, 3, 3, 600, 600, random.pick([600, 5_000])]) },
      (_, at) => (at === 0 ? `k${random.between(0, 9)}` : `${this.number}:${at}`),
    );
    const writes = Array.from({ length: count }, (_, at): DecidedWrite => {
      const isRejected = at > 0 && random.chance(0.2);
      return isRejected ? this.#rejected() : this.#committed(transaction, keys);
    });
    this.#open.push(transaction);
    this.transactions.push(transaction);
    const missedBy = random.chance(0.02) ? ['gone'] : [];
    const { sequence, now } = this;
    const commit = { kind: 'commit', transaction, keys, writes, sequence, now, missedBy } as const;
    if (!this.#takesPart || !random.chance(0.2)) return commit;
    const guests = random.pick([[1], [1, 2]]);
    const own = { shard: 0, transaction, keys };
    const others = guests.map((shard) => ({ shard, transaction: [9, 9] as const, keys: ['g'] }));
    this.#owed.push(...guests.map((guest) => ({ transaction, guest })));
    const shares = [own, ...others];
    return { ...commit, joint: { transaction, shares, sequence, now, unacknowledged: guests } };
  }

  /** A loan is given or concluded, or a guest acknowledges. */
  #joint(): readonly StorageWrite[] {
    const random = this.#random;
    const owed = this.#owed.splice(random.between(0, this.#owed.length), 2);
    const acknowledged = owed.map((one) => ({ kind: 'guest-acknowledged', ...one }) as const);
    if (random.chance(0.5)) {
      this.number += 1;
      const name = { shard: 3, birth: 7, incarnation: 1, sequence: this.number };
      const loan: StoredLoan = { transaction: [1, this.number], name, keys: ['l', '漢'] };
      this.#loans.push(loan);
      return [...acknowledged, { kind: 'lend', loan }];
    }
    const [loan] = this.#loans.splice(random.between(0, this.#loans.length), 1);
    if (loan === undefined) return acknowledged;
    const { transaction, name, keys } = loan;
    if (random.chance(0.4)) {
      return [...acknowledged, { kind: 'loan-abort', transaction, now: this.now }];
    }
    this.sequence += 1;
    this.#open.push(transaction);
    this.transactions.push(transaction);
    const otherShares = [{ shard: 3, transaction: [1, name.sequence] as const, keys: ['h'] }];
    const { sequence, now } = this;
    const commit = { kind: 'loan-commit', transaction, name, keys, otherShares } as const;
    const missedBy = random.chance(0.02) ? ['gone'] : [];
    return [...acknowledged, { ...commit, sequence, homeSequence: 5, at: now, now, missedBy }];
  }

  #committed(transaction: TransactionOrder, keys: readonly string[]): DecidedWrite {
    this.sequence += 1;
    const random = this.#random;
    const [key = ''] = keys;
    const plain = writeOf(this.sequence, this.now, key);
    const value = random.pick(['v', '\0漢', 'x'.repeat(1_000)]);
    const part = `[0,${'p'.repeat(random.pick([0, 10, 3_000]))}]`;
    const record = { ...plain.record, transaction: `0.${transaction.join('.')}`, part };
    this.records.push(record);
    const commands = [['SET', key, value]];
    const idempotency = random.chance(0.1) ? { key: `t::${record.id}`, digest: 'd' } : null;
    return { ...plain, record, commands, keys: random.pick([[key], keys]), idempotency };
  }

  #rejected(): DecidedWrite {
    this.number += 1;
    const plain = writeOf(1_000_000 + this.number, this.now);
    const record = { ...plain.record, outcome: 'rejected' as const, sequence: null, part: '[1]' };
    this.records.push(record);
    return { ...plain, record };
  }

  #reject(): StorageWrite {
    return { kind: 'reject', writes: [this.#rejected()], now: this.now };
  }

  #confirm(): readonly StorageWrite[] {
    const count = this.#random.between(0, this.#open.length);
    const at = this.#random.between(0, Math.max(0, this.#open.length - count));
    const transactions = this.#open.splice(at, count);
    return count === 0 ? [] : [{ kind: 'confirm', transactions, now: this.now }];
  }

  #region(): StorageWrite {
    const random = this.#random;
    const region = random.pick(['near', 'far']);
    const counter = (this.#pairs.get(region) ?? 0) + random.between(1, 4);
    this.#pairs.set(region, counter);
    if (random.chance(0.1)) return { kind: 'forget', region };
    const stored: StoredRegion = {
      region,
      generation: 7,
      former: [],
      begun: random.chance(0.9),
      takes: 0,
      agreed: null,
      pair: random.chance(0.05) ? null : [counter, `n${counter}`],
      membership: { state: 'voter', since: 1, leaving: null },
    };
    return { kind: 'region', region: stored };
  }

  #members(): StorageWrite {
    this.sequence += 1;
    const change = {
      sequence: this.sequence,
      at: this.now,
      epoch: this.sequence,
      region: 'far',
      event: 'out' as const,
      cause: 'silent' as const,
      detail: 'it did not answer',
    };
    return { kind: 'members', epoch: this.sequence, changes: [change] };
  }
}

/** The state in one form: regions and keys in order, and of writes only the fields that storage has to keep. */
function plainly({ unconfirmed, regions, missed, blocked, ...state }: Stored) {
  const { loans = [], jointCommits = [] } = state;
  const { epoch, sequence, now, isResting } = state;
  return {
    ...{ epoch, sequence, now, isResting },
    loans,
    jointCommits: jointCommits.toSorted((a, b) => a.sequence - b.sequence),
    unconfirmed: unconfirmed.map(({ transaction, keys, otherShares, sequence: last, writes }) => ({
      ...{ transaction, keys, otherShares, last },
      writes: writes.map(({ record, keys: own, commands, callback }) => ({
        ...{ record, own, commands, callback },
      })),
    })),
    regions: regions.toSorted((a, b) => (a.region < b.region ? -1 : 1)),
    missed: missed.map(({ region, keys }) => [region, keys.map(([key]) => key).toSorted()]),
    blocked,
  };
}

describe.each([1, 2, 3, 4])('storage that takes the steps of seed %i', (seed) => {
  it('has the state of the plain tables, and finds everything in it', () => {
    const random = new Random(seed);
    const steps = new Steps(random);
    const tables = new Tables();
    const memory = new MemoryStorage();
    let { storage } = begun(memory);
    for (let turn = 0; turn < 250; turn += 1) {
      const writes = steps.next();
      storage.write(writes);
      tables.apply(writes);
      if (random.chance(0.03)) {
        const next = begun(memory);
        storage = next.storage;
        expect(plainly(next.stored)).toEqual(plainly(tables.stored(1)));
      }
      for (let look = 0; look < 3; look += 1) {
        const transaction = random.pick([...steps.transactions, [1, 1] as const]);
        const [decision] = tables.decisionsOf([transaction]);
        const found = storage.decisionsOf([transaction]);
        expect(found).toEqual(decision === undefined ? [] : [{ transaction, keys: decision.keys }]);
        const record = random.pick([...steps.records, writeOf(0, 0).record]);
        expect(storage.recordOf(record.id)?.record).toEqual(tables.writes.get(record.id)?.record);
        const keyed = tables.byKey.get(`t::${record.id}`);
        expect(storage.recordedUnder(`t::${record.id}`, 1)?.record).toEqual(keyed?.record);
      }
    }
    const indexed = memory.sql.exec('SELECT count(*) AS n FROM log_index').toArray()[0]?.n;
    expect(indexed).toBeGreaterThanOrEqual(2);
    const key = `k${random.between(0, 9)}`;
    const last = tables.committed.findLast(({ id }) => tables.writes.get(id)?.keys.includes(key));
    expect(storage.changes.lastWriteTo(key)).toBe(last?.sequence ?? null);
    expect(sequencesIn(storage, steps.sequence)).toEqual(
      Array.from({ length: steps.sequence }, (_, at) => at + 1),
    );
    storage.prune(10 * 86_400_000, { keptMs: 0, keptWrites: 1 });
    expect(plainly(begun(memory).stored)).toEqual(plainly(tables.stored(1)));
  });
});

describe.each([1, 2, 3])(
  'storage that takes part in joint writes, with the steps of seed %i',
  (seed) => {
    it('has the state of the plain tables, and finds every decision and joint commit in it', () => {
      const random = new Random(seed);
      const steps = new Steps(random, true);
      const tables = new Tables();
      const memory = new MemoryStorage();
      let { storage } = begun(memory);
      for (let turn = 0; turn < 200; turn += 1) {
        const writes = steps.next();
        storage.write(writes);
        tables.apply(writes);
        if (random.chance(0.1)) {
          const next = begun(memory);
          storage = next.storage;
          expect(plainly(next.stored)).toEqual(plainly(tables.stored(1)));
        }
        const transaction = random.pick([...steps.transactions, [1, 1] as const]);
        const [decision] = tables.decisionsOf([transaction]);
        const [found] = storage.decisionsOf([transaction]);
        expect(found?.keys).toEqual(decision?.keys);
        expect(found?.otherShares).toEqual(decision?.otherShares);
        const commit = tables.jointCommits.get(transaction.join('.')) ?? null;
        expect(storage.jointCommits.find(transaction)).toEqual(commit);
      }
      expect(tables.jointCommits.size).toBeGreaterThan(5);
      expect(tables.loanCommits.size).toBeGreaterThan(5);
      storage.prune(10 * 86_400_000, { keptMs: 0, keptWrites: 1 });
      expect(plainly(begun(memory).stored)).toEqual(plainly(tables.stored(1)));
    });
  },
);

/** The sequences of all changes, page by page. */
function sequencesIn(storage: ReturnType<typeof begun>['storage'], newest: number) {
  const sequences: number[] = [];
  for (let since = 0; since < newest; ) {
    const query = { since, limit: 100, prefixes: [], values: true, members: true };
    const page = storage.changes.page(query, newest);
    if (page.kind !== 'page') throw new Error(`no page, but ${page.kind}`);
    sequences.push(...page.changes.map(({ sequence }) => sequence));
    since = page.next;
  }
  return sequences;
}
