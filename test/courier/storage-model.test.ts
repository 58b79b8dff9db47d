/** Compares a courier's storage with a plain list of deliveries, over random operations and crashes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CourierStorage } from '../../functions/courier/storage.ts';
import type { DeliveryRecord } from '../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../shared/limits.ts';
import { MemoryStorage } from '../coordinator/sqlite.ts';
import { answered, courier, delivered, eventsOf, retried } from './stored.ts';

/** A delivery of the model. */
interface Expected {
  readonly event: string;
  readonly body: string;
  state: DeliveryRecord['state'];
  since: number;
  dueAt: number | null;
  attempts: number;
  /** The attempts of this run through the schedule. */
  step: number;
}

const failed = { ...delivered, state: 'failed' } as const;

/** The storage and its model, side by side. */
class Comparison {
  readonly memory = new MemoryStorage();
  storage = courier(this.memory);
  /** In the order of their arrival. */
  model: Expected[] = [];
  /** The model when everything was last stored. */
  stored: readonly Expected[] = [];
  readonly inProgress = new Set<string>();
  now = 1;
  next = 0;

  add(count: number, repeated: number, bodyBytes: number): void {
    const body = 'x'.repeat(bodyBytes);
    const fresh = eventsOf(count, this.next, body);
    this.next += count;
    const known = this.model.slice(0, repeated).map(({ event }) => event);
    const [pattern] = eventsOf(1);
    if (pattern === undefined) throw new Error('there is one');
    this.storage.add([...known.map((id) => ({ ...pattern, id })), ...fresh], this.now);
    for (const { id } of fresh) {
      const { now } = this;
      const waits = { state: 'waiting', since: now, dueAt: now, attempts: 0, step: 0 } as const;
      this.model.push({ event: id, body, ...waits });
    }
  }

  take(count: number): void {
    const due = this.due().filter(({ dueAt }) => (dueAt ?? 0) <= this.now);
    const meant = due.slice(0, count).map(({ event, body, step }) => ({ event, body, step }));
    const taken = this.storage.take(this.now, count);
    expect(taken).toEqual(meant);
    for (const { event } of taken) this.inProgress.add(event);
  }

  /** The deliveries that wait for an attempt, in the order in which they are due. */
  due(): readonly Expected[] {
    // The sort is stable, and the model is in the order of arrival.
    return this.model
      .filter(({ event, state }) => state === 'waiting' && !this.inProgress.has(event))
      .toSorted((a, b) => (a.dueAt ?? 0) - (b.dueAt ?? 0));
  }

  settle(which: number, kind: 'delivered' | 'retried' | 'failed', pauseMs: number): void {
    const event = [...this.inProgress][which % Math.max(1, this.inProgress.size)];
    if (event === undefined) return;
    const nextAttemptAt = this.now + pauseMs;
    const judgement = { delivered, failed, retried: retried(nextAttemptAt) }[kind];
    this.storage.settle(event, answered, judgement, this.now);
    this.inProgress.delete(event);
    const one = this.model.find((each) => each.event === event);
    if (one === undefined || (one.state !== 'waiting' && kind !== 'delivered')) return;
    one.state = judgement.state;
    one.dueAt = judgement.nextAttemptAt;
    one.attempts += 1;
    one.step += 1;
    if (judgement.state !== 'waiting') one.since = this.now;
  }

  save(): void {
    this.storage.save();
    expect(this.storage.hasUnsaved).toBe(false);
  }

  enable(): void {
    this.storage.enable(this.now);
    for (const one of this.model) {
      if (one.state !== 'waiting') continue;
      // One that is due already keeps its place, unless an attempt has failed.
      if ((one.dueAt ?? 0) > this.now || one.step > 0) this.startOver(one);
    }
  }

  startOver(one: Expected): void {
    one.state = 'waiting';
    one.dueAt = this.now;
    one.since = this.now;
    one.step = 0;
  }

  replay(which: number): void {
    const ended = this.model.filter(({ state }) => state !== 'waiting');
    // Now and then one that still waits.
    const among = which % 5 === 0 ? this.model : ended;
    const one = among[which % Math.max(1, among.length)];
    if (one === undefined) return;
    const isEnded = one.state !== 'waiting';
    expect(this.storage.replay({ event: one.event }, this.now)).toBe(isEnded ? 1 : 0);
    if (isEnded) this.startOver(one);
  }

  replayFailed(): void {
    const meant = this.model.filter(({ state }) => state === 'failed');
    expect(this.storage.replay({ since: 0, delivered: false }, this.now)).toBe(meant.length);
    for (const one of meant) this.startOver(one);
  }

  /** A batch goes as a whole, so the model only checks that nothing goes too early. */
  prune(): void {
    this.storage.prune(this.now);
    const kept = new Set(this.log().map(({ event }) => event));
    const before = this.now - limits.deliveriesKeptMs;
    for (const { event, state, since } of this.model.filter((one) => !kept.has(one.event))) {
      expect({ event, isOver: state !== 'waiting' && since <= before }).toEqual({
        ...{ event, isOver: true },
      });
    }
    this.model = this.model.filter(({ event }) => kept.has(event));
  }

  /** Begins a new life, with the outcomes that were stored, or with all if nothing was unsaved. */
  crash(): void {
    const isAllStored = !this.storage.hasUnsaved;
    this.storage = new CourierStorage(this.memory);
    this.inProgress.clear();
    if (isAllStored) return;
    const shown = new Map(this.log().map((record) => [record.event, record]));
    this.model = this.model.map((latest) => {
      const older = this.stored.find(({ event }) => event === latest.event);
      const attempts = shown.get(latest.event)?.attempts;
      const isLatest = attempts === latest.attempts || older === undefined;
      return isLatest ? latest : { ...older };
    });
  }

  /** All pages of the log, the oldest first. */
  log(): readonly DeliveryRecord[] {
    const records: DeliveryRecord[] = [];
    let before: number | null = null;
    do {
      const page = this.storage.page({ state: null, before, limit: 40 });
      records.push(...page.deliveries);
      before = page.before;
    } while (before !== null);
    return records.toReversed();
  }

  check(): void {
    const shown = this.log().map(({ event, state, nextAttemptAt, attempts }) => {
      return { event, state, dueAt: nextAttemptAt, attempts };
    });
    expect(shown).toEqual(
      this.model.map(({ event, state, dueAt, attempts }) => ({ event, state, dueAt, attempts })),
    );
    expect(this.storage.nextDueAt).toBe(this.due()[0]?.dueAt ?? null);
    if (!this.storage.hasUnsaved) this.stored = this.model.map((one) => ({ ...one }));
  }
}

const small = fc.integer({ min: 0, max: 30 });
const operations = fc.oneof(
  fc.record({
    kind: fc.constant('add' as const),
    count: fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 130 })),
    repeated: fc.integer({ min: 0, max: 3 }),
    bytes: fc.constantFrom(20, 200, 9_000),
  }),
  fc.record({ kind: fc.constant('take' as const), count: fc.integer({ min: 1, max: 6 }) }),
  fc.record({
    kind: fc.constant('settle' as const),
    which: small,
    outcome: fc.constantFrom('delivered' as const, 'retried' as const, 'failed' as const),
    pauseMs: fc.constantFrom(0, 1, 5, 1_000_000),
  }),
  fc.record({ kind: fc.constantFrom('save', 'enable', 'replayFailed', 'prune', 'crash' as const) }),
  fc.record({ kind: fc.constant('replay' as const), which: small }),
  fc.record({
    kind: fc.constant('pass' as const),
    ms: fc.constantFrom(1, 3, 1_000_000, limits.deliveriesKeptMs / 2),
  }),
);

type Operation = typeof operations extends fc.Arbitrary<infer Each> ? Each : never;

function perform(comparison: Comparison, operation: Operation): void {
  if (operation.kind === 'add') {
    comparison.add(operation.count, operation.repeated, operation.bytes);
  } else if (operation.kind === 'take') comparison.take(operation.count);
  else if (operation.kind === 'settle') {
    comparison.settle(operation.which, operation.outcome, operation.pauseMs);
  } else if (operation.kind === 'replay') comparison.replay(operation.which);
  else if (operation.kind === 'pass') comparison.now += operation.ms;
  else comparison[operation.kind]();
  comparison.check();
}

describe('the storage of a courier', () => {
  it('is equal to a plain list of deliveries after any operations, and after a crash lacks only unsaved outcomes', () => {
    fc.assert(
      fc.property(fc.array(operations, { minLength: 5, maxLength: 60 }), (all) => {
        const comparison = new Comparison();
        for (const operation of all) perform(comparison, operation);
      }),
      { numRuns: 200 },
    );
  });
});
