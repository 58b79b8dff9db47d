/** Gathers the requests of an isolate that meet in one turn of the event loop, so that they go in one call. */
import { limits } from '../../../shared/limits.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import type { Background } from './region-directory.ts';

/** A request that goes in a call with others. It is settled once; later answers are ignored. */
export interface SharedCallMember<Item, Answer> {
  readonly item: Item;
  give(answer: Answer): void;
  fail(error: unknown): void;
}

/** Sends the call of its members, and settles each. It never rejects; members that it does not settle fail. */
export type SendGathered<Item, Answer> = (
  members: readonly SharedCallMember<Item, Answer>[],
) => Promise<void>;

/** The bounds of one call. */
export interface GatherBounds {
  readonly members: number;
  /** The sum of the sizes of its members. */
  readonly size: number;
  /** The time after which a member waits no longer for its answer, ms. */
  readonly patienceMs: number;
}

/** A call whose members gather. */
interface Gathering<Item, Answer> {
  readonly members: SharedCallMember<Item, Answer>[];
  size: number;
}

/** The last call of a destination. */
interface Sent {
  readonly at: number;
  readonly members: number;
  isOver: boolean;
}

/**
 * Gathers requests per destination. A request joins a call only until that is sent.
 *
 * A lone request is sent at once. While others are on their way, requests are gathered for one turn of the event loop.
 * The request that begins a call also sends it, in the background, so that the call outlives its client.
 */
export class Gatherer<Item, Answer> {
  readonly #dependencies: Pick<EdgeDependencies, 'now' | 'pause' | 'withTimeout'>;
  readonly #bounds: GatherBounds;
  readonly #open = new Map<string, Gathering<Item, Answer>>();
  readonly #sent = new Map<string, Sent>();

  constructor(
    dependencies: Pick<EdgeDependencies, 'now' | 'pause' | 'withTimeout'>,
    bounds: GatherBounds,
  ) {
    this.#dependencies = dependencies;
    this.#bounds = bounds;
  }

  /**
   * Resolves with the answer to `item`; rejects if its call fails, or ends without it, or takes too long. `send` is
   * called if the request begins a call to `destination`.
   */
  ask(
    destination: string,
    item: Item,
    size: number,
    background: Background,
    send: SendGathered<Item, Answer>,
  ): Promise<Answer> {
    const { promise, resolve: give, reject: fail } = Promise.withResolvers<Answer>();
    const member = { item, give, fail };
    const open = this.#open.get(destination);
    if (open !== undefined && this.#hasRoom(open, size)) {
      open.members.push(member);
      open.size += size;
    } else {
      const gathering = { members: [member], size };
      this.#open.set(destination, gathering);
      background(this.#send(destination, gathering, send));
    }
    // The runtime ends a request that waits for nothing but the work of another one. This timer is its own.
    return this.#dependencies.withTimeout(promise, this.#bounds.patienceMs);
  }

  #hasRoom({ members, size }: Gathering<Item, Answer>, more: number): boolean {
    return members.length < this.#bounds.members && size + more <= this.#bounds.size;
  }

  async #send(
    destination: string,
    gathering: Gathering<Item, Answer>,
    send: SendGathered<Item, Answer>,
  ): Promise<void> {
    if (this.#isBusy(destination)) await this.#dependencies.pause(0);
    // From here on no request joins: the call may show a moment before that request came.
    if (this.#open.get(destination) === gathering) this.#open.delete(destination);
    const { members } = gathering;
    const at = this.#dependencies.now();
    const sent: Sent = { at, members: members.length, isOver: false };
    this.#sent.set(destination, sent);
    await send(members);
    sent.isOver = true;
    for (const { fail } of members) fail(unanswered);
  }

  /** True if further requests are likely to come in this turn. A call whose end was lost counts for a while only. */
  #isBusy(destination: string): boolean {
    const sent = this.#sent.get(destination);
    if (sent === undefined) return false;
    if (sent.members > 1) return true;
    return !sent.isOver && this.#dependencies.now() - sent.at < limits.readTimeoutMs;
  }
}

const unanswered = new Error('the call ended without an answer');
