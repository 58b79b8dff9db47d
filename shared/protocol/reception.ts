import type { WriteAnswer } from '../wire/answers.ts';
import type { Waiting } from './admission.ts';
import type { Applications, Confirming } from './applications.ts';
import type { CoordinatorEvent } from './events.ts';
import type { FrameBook } from './frame-book.ts';
import type { Outbox } from './outbox.ts';
import type { RegionLinks } from './region-links.ts';
import type { Transactions } from './transactions.ts';

type ArrivedEvent = Extract<CoordinatorEvent, { kind: 'arrived' }>;

/** Why nothing can be decided after a loss. */
export const lostReason = 'a region that must vote has lost writes';

/** Where frames come in: repeated ones find the answer of the first, others are queued, refused, or may go at once. */
export class Reception {
  readonly #outbox: Outbox;
  readonly #links: RegionLinks;
  readonly #frames: FrameBook;
  readonly #transactions: Transactions;
  readonly #applications: Applications;

  constructor(
    outbox: Outbox,
    links: RegionLinks,
    frames: FrameBook,
    transactions: Transactions,
    applications: Applications,
  ) {
    this.#outbox = outbox;
    this.#links = links;
    this.#frames = frames;
    this.#transactions = transactions;
    this.#applications = applications;
  }

  /** Takes in a frame. Returns it where nothing stands in its way, so that a transaction may begin with it now. */
  receive(event: ArrivedEvent): Waiting | null {
    const { frame, ticket, recorded } = event;
    const key = frame.idempotency?.key;
    const underway = key === undefined ? undefined : this.#frames.under(key);
    const digest = recorded?.digest ?? underway?.frame.idempotency?.digest;
    if (digest !== undefined && digest !== frame.idempotency?.digest) {
      const id = recorded?.record.id ?? underway?.frame.id ?? frame.id;
      this.#outbox.answer(ticket, { kind: 'key-reused', id });
    } else if (recorded !== null) this.#replay(event, recorded.record);
    else if (underway !== undefined) this.#frames.attend(underway, event);
    else return this.#admit(event);
    return null;
  }

  /** Answers from storage, at once or when the write is confirmed. */
  #replay(event: ArrivedEvent, record: Confirming['answer']['record']): void {
    const { frame, ticket, async } = event;
    const answer = { kind: 'decided', record, replayed: true } as const;
    const caller = { ticket, ack: frame.ack, until: frame.notAfter };
    const appliedIn = frame.ack === 'confirmed' ? this.#applications.appliedIn(record) : null;
    if (appliedIn === null) this.#outbox.answer(ticket, answer);
    else if (!async && frame.notAfter > this.#outbox.now) {
      this.#applications.join({ caller, answer });
    } else this.#outbox.answer(ticket, { kind: 'unconfirmed', record: { ...record, appliedIn } });
  }

  #admit(event: ArrivedEvent): Waiting | null {
    const { keys } = event.frame;
    const refusal = this.#refusalOf(event);
    if (refusal !== null) {
      this.#outbox.answer(event.ticket, refusal);
      return null;
    }
    const waiting = this.#frames.admit(event);
    this.#frames.attend(waiting, event);
    const held = keys.some((key) => this.#transactions.isHeld(key));
    const free = !held && !this.#frames.queue.waitsFor(keys);
    if (free && this.#links.obstacles.length === 0) return waiting;
    this.#frames.enqueue(waiting);
    return null;
  }

  #refusalOf({ frame }: ArrivedEvent): WriteAnswer | null {
    const { id, bytes, notAfter } = frame;
    if (this.#frames.isFull(bytes)) {
      return { kind: 'busy', retryAfterMs: Math.max(1_000, Math.ceil(this.#links.slowestMs)) };
    }
    if (notAfter <= this.#outbox.now) {
      const reason = 'its notAfter had passed when it arrived at the coordinator';
      return { kind: 'unavailable', id, faults: [], reason };
    }
    const faults = this.#links.lost;
    return faults.length === 0 ? null : { kind: 'unavailable', id, faults, reason: lostReason };
  }
}
