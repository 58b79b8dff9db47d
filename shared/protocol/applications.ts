import { keyOf, type RegionId, type TransactionOrder, type WriteId } from '../ids.ts';
import type { WriteAnswer } from '../wire/answers.ts';
import type { Caller } from './admission.ts';
import type { Outbox } from './outbox.ts';

/** A caller that waits until every region has applied its write, and what it is then told. */
export interface Confirming {
  readonly caller: Caller;
  readonly answer: Extract<WriteAnswer, { kind: 'decided' }>;
}

interface Application {
  readonly missing: Set<RegionId>;
  readonly writes: readonly WriteId[];
  waiting: Confirming[];
}

/** The commits that some region has not acknowledged, and who waits for that. */
export class Applications {
  readonly #regions: readonly RegionId[];
  readonly #outbox: Outbox;
  readonly #byTransaction = new Map<string, Application>();
  readonly #byWrite = new Map<WriteId, Application>();

  constructor(regions: readonly RegionId[], outbox: Outbox) {
    this.#regions = regions;
    this.#outbox = outbox;
  }

  /** Every region has to acknowledge `transaction` from now on. */
  add(transaction: TransactionOrder, writes: readonly WriteId[], waiting: Confirming[]): void {
    const application = { missing: new Set(this.#regions), writes, waiting };
    this.#byTransaction.set(keyOf(transaction), application);
    for (const id of writes) this.#byWrite.set(id, application);
    for (const { caller } of waiting) this.#outbox.schedule(caller.until);
  }

  /** The caller waits too, if the write is still being applied; false where it is not. */
  join(id: WriteId, confirming: Confirming): boolean {
    const application = this.#byWrite.get(id);
    application?.waiting.push(confirming);
    this.#outbox.schedule(confirming.caller.until);
    return application !== undefined;
  }

  /** The regions that have applied the write, or null where it is not being applied. */
  appliedIn(id: WriteId): readonly RegionId[] | null {
    const application = this.#byWrite.get(id);
    return application === undefined ? null : this.#applied(application);
  }

  /** A region has acknowledged; with the last one the write is confirmed, stored as such, and its callers are told. */
  acknowledge(transaction: TransactionOrder, region: RegionId): void {
    const application = this.#byTransaction.get(keyOf(transaction));
    if (application === undefined || !application.missing.delete(region)) return;
    if (application.missing.size > 0) return;
    this.#byTransaction.delete(keyOf(transaction));
    for (const id of application.writes) this.#byWrite.delete(id);
    this.#outbox.persist({ kind: 'confirm', transactions: [transaction], now: this.#outbox.now });
    for (const { caller, answer } of application.waiting) {
      const record = { ...answer.record, appliedIn: this.#regions };
      this.#outbox.answer(caller.ticket, { ...answer, record });
    }
  }

  /** Tells the callers whose time is over that the write is committed but not confirmed, and plans for the others. */
  sweep(): void {
    for (const application of this.#byTransaction.values()) {
      application.waiting = application.waiting.filter(({ caller, answer }) => {
        const patient = caller.until > this.#outbox.now;
        if (patient) this.#outbox.schedule(caller.until);
        else {
          const record = { ...answer.record, appliedIn: this.#applied(application) };
          this.#outbox.answer(caller.ticket, { kind: 'unconfirmed', record });
        }
        return patient;
      });
    }
  }

  #applied({ missing }: Application): readonly RegionId[] {
    return this.#regions.filter((region) => !missing.has(region));
  }
}
