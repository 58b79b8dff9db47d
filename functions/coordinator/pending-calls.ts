import { unreachable } from '../../shared/assert.ts';
import type { ReadAnswer, Resolution, WriteAnswer } from '../../shared/contracts/coordinator.ts';
import type { AdminCommandAnswer } from '../../shared/contracts/members.ts';
import type { CoordinatorReply, Ticket } from '../../shared/protocol/io/events.ts';

/** PendingCalls that wait for one kind of answer. */
class Waiting<Answer> {
  readonly #nextTicket: () => Ticket;
  readonly #gives = new Map<Ticket, (answer: Answer) => void>();

  constructor(nextTicket: () => Ticket) {
    this.#nextTicket = nextTicket;
  }

  /** Calls `ask` with a ticket, and answers what is given for it. Rejects with what `ask` throws. */
  expect(ask: (ticket: Ticket) => void): Promise<Answer> {
    return new Promise((give) => {
      const ticket = this.#nextTicket();
      this.#gives.set(ticket, give);
      ask(ticket);
    });
  }

  give(ticket: Ticket, answer: Answer): void {
    const give = this.#gives.get(ticket);
    this.#gives.delete(ticket);
    give?.(answer);
  }
}

/** Who waits for what of the core. A ticket is given once in the life of an instance. */
export class PendingCalls {
  #lastTicket = 0;
  readonly #nextTicket = () => {
    this.#lastTicket += 1;
    return this.#lastTicket;
  };
  readonly write = new Waiting<WriteAnswer>(this.#nextTicket);
  readonly resolve = new Waiting<readonly Resolution[]>(this.#nextTicket);
  readonly read = new Waiting<ReadAnswer>(this.#nextTicket);
  readonly order = new Waiting<AdminCommandAnswer>(this.#nextTicket);

  /** Answers the caller of a reply. */
  give(reply: CoordinatorReply): void {
    switch (reply.kind) {
      case 'write':
        this.write.give(reply.ticket, reply.answer);
        break;
      case 'resolutions':
        this.resolve.give(reply.ticket, reply.resolutions);
        break;
      case 'read':
        this.read.give(reply.ticket, reply.answer);
        break;
      case 'admin-command':
        this.order.give(reply.ticket, reply.answer);
        break;
      default:
        unreachable(reply);
    }
  }
}
