/** Matches the answers of the core to the RPC calls that wait for them. */
import { assert, unreachable } from '../../shared/assert.ts';
import type { ReadAnswer, Resolution, WriteAnswer } from '../../shared/contracts/coordinator.ts';
import type { AdminCommandAnswer } from '../../shared/contracts/members.ts';
import type { Ticket } from '../../shared/protocol/io/events.ts';
import type { CoordinatorReply } from '../../shared/protocol/io/ready.ts';

/** The calls that wait for one kind of answer. */
class Waiting<Answer> {
  readonly #nextTicket: () => Ticket;
  readonly #gives = new Map<Ticket, (answer: Answer) => void>();

  constructor(nextTicket: () => Ticket) {
    this.#nextTicket = nextTicket;
  }

  /** Calls `ask` with a fresh ticket; resolves with the answer given for it, or rejects with the error of `ask`. */
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

/** The RPC calls that wait for answers of the core. A ticket is used once in the life of an instance. */
export class PendingCalls {
  #lastTicket = 0;
  readonly #nextTicket = () => {
    this.#lastTicket += 1;
    return this.#lastTicket;
  };
  readonly write = new Waiting<WriteAnswer>(this.#nextTicket);
  readonly resolve = new Waiting<readonly Resolution[]>(this.#nextTicket);
  readonly read = new Waiting<ReadAnswer>(this.#nextTicket);
  readonly adminCommand = new Waiting<AdminCommandAnswer>(this.#nextTicket);

  /** Resolves the call that the reply answers. */
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
        this.adminCommand.give(reply.ticket, reply.answer);
        break;
      case 'loan':
        // No shard calls another yet.
        assert(false, 'one shard has no loans');
        break;
      default:
        unreachable(reply);
    }
  }
}
