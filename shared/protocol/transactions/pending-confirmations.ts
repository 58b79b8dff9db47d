import type { WriteAnswer, WriteRecord } from '../../contracts/coordinator.ts';
import { keyOf, parseTransactionId, type RegionId, type TransactionOrder } from '../../ids.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { CommittedWrite } from '../io/stored.ts';
import type { Caller } from './admission.ts';
import type { EventRouter } from './event-router.ts';

/** A caller that waits until every region has applied its write, and the answer that it then gets. */
export interface Confirming {
  readonly caller: Caller;
  readonly answer: Extract<WriteAnswer, { kind: 'decided' }>;
}

interface PendingConfirmation {
  /** The voters when it was decided. */
  readonly voters: readonly RegionId[];
  readonly missing: Set<RegionId>;
  /** Those that were evicted before they acknowledged. */
  readonly dismissed: Set<RegionId>;
  waiting: Confirming[];
  /** The writes with an event about their confirmation. */
  readonly announced: readonly CommittedWrite[];
  /** When each region acknowledged, ms since the epoch; null if a former instance made the decision. */
  readonly acknowledgedAt: Map<RegionId, number> | null;
}

/** The commits that some region has not acknowledged, and the callers that wait for that. */
export class PendingConfirmations {
  readonly #ready: ReadyBuilder;
  readonly #eventRouter: EventRouter;
  readonly #byTransaction = new Map<string, PendingConfirmation>();

  constructor(ready: ReadyBuilder, eventRouter: EventRouter) {
    this.#ready = ready;
    this.#eventRouter = eventRouter;
  }

  /** These voters have to acknowledge `transaction` from now on. `isFresh`: it has been decided in this step. */
  add(
    transaction: TransactionOrder,
    voters: readonly RegionId[],
    writes: readonly CommittedWrite[],
    waiting: Confirming[],
    isFresh: boolean,
  ): void {
    this.#byTransaction.set(keyOf(transaction), {
      voters,
      missing: new Set(voters),
      dismissed: new Set(),
      waiting,
      announced: writes.flatMap((write) => this.#eventRouter.keptFor(write)),
      acknowledgedAt: isFresh ? new Map() : null,
    });
    for (const { caller } of waiting) this.#ready.schedule(caller.until);
  }

  /** One more caller waits for a write that is being applied. */
  join(confirming: Confirming): void {
    this.#of(confirming.answer.record)?.waiting.push(confirming);
    this.#ready.schedule(confirming.caller.until);
  }

  /** The regions that have applied the write, or null if it is not being applied. */
  appliedIn(record: WriteRecord): readonly RegionId[] | null {
    const application = this.#of(record);
    return application === undefined ? null : this.#applied(application);
  }

  /**
   * A region has acknowledged; with the last one the write is confirmed, stored as such, and its callers are answered.
   */
  acknowledge(transaction: TransactionOrder, region: RegionId): void {
    const application = this.#byTransaction.get(keyOf(transaction));
    if (application === undefined || !application.missing.delete(region)) return;
    application.acknowledgedAt?.set(region, this.#ready.now);
    if (application.missing.size === 0) this.#confirm(transaction, application);
  }

  /** The region has no vote any more, so no write waits for it. */
  dismiss(region: RegionId): void {
    for (const [key, application] of this.#byTransaction) {
      if (!application.missing.delete(region)) continue;
      application.dismissed.add(region);
      if (application.missing.size > 0) continue;
      const [incarnation = 0, sequence = 0] = key.split('.').map(Number);
      this.#confirm([incarnation, sequence], application);
    }
  }

  /** The transactions that voters have yet to acknowledge. */
  get open(): readonly (readonly [key: string, missing: readonly RegionId[]])[] {
    return [...this.#byTransaction].map(([key, { missing }]) => [key, [...missing]]);
  }

  /** When the first caller that waits for a confirmation stops waiting, ms; infinity if none waits. */
  get firstDeadline(): number {
    const waiting = [...this.#byTransaction.values()].flatMap((application) => application.waiting);
    return Math.min(Number.POSITIVE_INFINITY, ...waiting.map(({ caller }) => caller.until));
  }

  #confirm(transaction: TransactionOrder, application: PendingConfirmation): void {
    const { now } = this.#ready;
    this.#byTransaction.delete(keyOf(transaction));
    this.#ready.persist({ kind: 'confirm', transactions: [transaction], now });
    for (const write of application.announced) {
      const regions = this.#msOf(application, write.record.decidedAt);
      this.#ready.queueEvents(this.#eventRouter.confirmed(write, now, regions), write.callback);
    }
    for (const { caller, answer } of application.waiting) {
      const record = { ...answer.record, appliedIn: this.#applied(application) };
      this.#ready.answer(caller.ticket, { ...answer, record });
    }
  }

  /** Answers the callers whose time is over that the write is committed but not confirmed, and plans for the others. */
  sweep(): void {
    for (const application of this.#byTransaction.values()) {
      application.waiting = application.waiting.filter(({ caller, answer }) => {
        const patient = caller.until > this.#ready.now;
        if (patient) this.#ready.schedule(caller.until);
        else {
          const record = { ...answer.record, appliedIn: this.#applied(application) };
          this.#ready.answer(caller.ticket, { kind: 'unconfirmed', record });
        }
        return patient;
      });
    }
  }

  /** Found by the transaction that carried it: after a restart nothing else of the write is in memory. */
  #of({ transaction, outcome }: WriteRecord): PendingConfirmation | undefined {
    const id = outcome === 'committed' ? parseTransactionId(transaction) : null;
    if (id === null) return undefined;
    return this.#byTransaction.get(keyOf([id.incarnation, id.sequence]));
  }

  #msOf(
    { acknowledgedAt, voters }: PendingConfirmation,
    decidedAt: number,
  ): Record<RegionId, number | null> {
    const moments = voters.map((region) => {
      const moment = acknowledgedAt?.get(region);
      return [region, moment === undefined ? null : moment - decidedAt] as const;
    });
    return Object.fromEntries(moments);
  }

  /** A region that was evicted before it acknowledged is not listed: it has no vote any more. */
  #applied({ missing, voters, dismissed }: PendingConfirmation): readonly RegionId[] {
    return voters.filter((region) => !missing.has(region) && !dismissed.has(region));
  }
}
