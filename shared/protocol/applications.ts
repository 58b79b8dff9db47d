import { keyOf, parseTransactionId, type RegionId, type TransactionOrder } from '../ids.ts';
import type { WriteAnswer, WriteRecord } from '../wire/answers.ts';
import type { Caller } from './admission.ts';
import type { Outbox } from './outbox.ts';

/** A caller that waits until every region has applied its write, and what it is then told. */
export interface Confirming {
  readonly caller: Caller;
  readonly answer: Extract<WriteAnswer, { kind: 'decided' }>;
}

interface Application {
  readonly missing: Set<RegionId>;
  waiting: Confirming[];
}

/** The commits that some region has not acknowledged, and who waits for that. */
export class Applications {
  readonly #regions: readonly RegionId[];
  readonly #outbox: Outbox;
  readonly #byTransaction = new Map<string, Application>();

  constructor(regions: readonly RegionId[], outbox: Outbox) {
    this.#regions = regions;
    this.#outbox = outbox;
  }

  /** Every region has to acknowledge `transaction` from now on. */
  add(transaction: TransactionOrder, waiting: Confirming[]): void {
    const application = { missing: new Set(this.#regions), waiting };
    this.#byTransaction.set(keyOf(transaction), application);
    for (const { caller } of waiting) this.#outbox.schedule(caller.until);
  }

  /** One more caller waits for a write that is being applied. */
  join(confirming: Confirming): void {
    this.#of(confirming.answer.record)?.waiting.push(confirming);
    this.#outbox.schedule(confirming.caller.until);
  }

  /** The regions that have applied the write, or null where it is not being applied. */
  appliedIn(record: WriteRecord): readonly RegionId[] | null {
    const application = this.#of(record);
    return application === undefined ? null : this.#applied(application);
  }

  /** A region has acknowledged; with the last one the write is confirmed, stored as such, and its callers are told. */
  acknowledge(transaction: TransactionOrder, region: RegionId): void {
    const application = this.#byTransaction.get(keyOf(transaction));
    if (application === undefined || !application.missing.delete(region)) return;
    if (application.missing.size > 0) return;
    this.#byTransaction.delete(keyOf(transaction));
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

  /** Found by the transaction that carried it: after a restart nothing else of the write is in memory. */
  #of({ transaction, outcome }: WriteRecord): Application | undefined {
    const id = outcome === 'committed' ? parseTransactionId(transaction) : null;
    if (id === null) return undefined;
    return this.#byTransaction.get(keyOf([id.incarnation, id.sequence]));
  }

  #applied({ missing }: Application): readonly RegionId[] {
    return this.#regions.filter((region) => !missing.has(region));
  }
}
