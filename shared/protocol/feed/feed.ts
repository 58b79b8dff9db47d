import { assert, unreachable } from '../../assert.ts';
import type { Change, ChangesAnswer, ChangesQuery } from '../../contracts/webhooks-and-feed.ts';
import { limits } from '../../limits.ts';
import { type ChunkBatch, chunksOfPage, FeedWindow, type TextOf } from './feed-window.ts';
import {
  afterAcknowledgement,
  afterSending,
  type Chunk,
  type Filter,
  type Follower,
  hasRoomFor,
  hasRoomForPage,
} from './follower.ts';

/** Names a follower within one life of the feed. */
export type FollowerId = number;

/** Names a page that was asked for. */
export type PageTicket = number;

/** Why a follower is closed, and the meaning of `position` then. */
export type CloseReason =
  /** It has acknowledged too few of its changes; it can go on from `position`. */
  | 'slow'
  /** Its cursor lies before the kept log, whose oldest change is `position`. */
  | 'expired'
  /** Its cursor lies after the newest change, which is `position`. */
  | 'ahead'
  /** It has acknowledged more than was sent to it, which is up to `position`. */
  | 'unsent';

/** The work of the shell, in the given order. */
export type FeedEffect =
  /** One text for all of them. Their state has to be kept with it: see {@link FeedCore.follower}. */
  | { readonly kind: 'send'; readonly to: readonly FollowerId[]; readonly text: string }
  /** The answer goes to {@link FeedCore.paged}, the lack of one to {@link FeedCore.missed}. */
  | { readonly kind: 'fetch'; readonly ticket: PageTicket; readonly query: ChangesQuery }
  /** The follower is forgotten already. */
  | {
      readonly kind: 'close';
      readonly follower: FollowerId;
      readonly why: CloseReason;
      readonly position: number;
    };

interface Member {
  readonly id: FollowerId;
  /** Equal for equal filters. */
  readonly group: string;
  follower: Follower;
  isFetching: boolean;
}

/**
 * Decides which changes each follower of a shard gets. A follower within the window of newest changes is served from
 * there; one before it gets pages of the coordinator's log. A follower's cursor alone decides which change comes next,
 * so that repeated publishing, gaps, and a life that forgot everything but the followers neither lose a change nor send
 * one twice.
 */
export class FeedCore {
  readonly #textOf: TextOf;
  readonly #window: FeedWindow;
  readonly #members = new Map<FollowerId, Member>();
  readonly #pages = new Map<PageTicket, { readonly key: string; readonly waiting: Member[] }>();
  #lastTicket = 0;

  constructor(textOf: TextOf) {
    this.#textOf = textOf;
    this.#window = new FeedWindow(textOf);
  }

  /** The number of followers. */
  get size(): number {
    return this.#members.size;
  }

  /** The state of a follower, to be kept by the shell; null if it is gone. */
  follower(id: FollowerId): Follower | null {
    return this.#members.get(id)?.follower ?? null;
  }

  /** Restores a follower of an earlier life. It is served with the others. */
  restore(id: FollowerId, follower: Follower): void {
    this.#members.set(id, { id, group: groupOf(follower), follower, isFetching: false });
  }

  /** A follower comes. Its `target` is the newest change that its coordinator knows. */
  join(id: FollowerId, follower: Follower): readonly FeedEffect[] {
    const newest = Math.max(follower.target, this.#window.head);
    if (follower.next > newest) {
      return [{ kind: 'close', follower: id, why: 'ahead', position: newest }];
    }
    this.restore(id, follower);
    return this.#serveThose(id);
  }

  /** A follower has gone. */
  leave(id: FollowerId): void {
    this.#members.delete(id);
  }

  /** New changes, contiguous; they go out with the next {@link serve}. */
  publish(changes: readonly Change[]): void {
    this.#window.publish(changes);
  }

  /**
   * Gives every follower the changes that it lacks from the window, and fetches pages for those whose cursor lies
   * before it.
   */
  serve(): readonly FeedEffect[] {
    const turn = new Turn();
    this.#serve(this.#members.values(), turn);
    this.#window.trim();
    return turn.effects;
  }

  /** A page has come. */
  paged(ticket: PageTicket, answer: ChangesAnswer): readonly FeedEffect[] {
    const turn = new Turn();
    const members = this.#take(ticket);
    const [first] = members;
    if (first === undefined) return [];
    switch (answer.kind) {
      case 'expired':
        for (const member of members) this.#close(member, 'expired', answer.oldest, turn);
        return turn.effects;
      case 'ahead':
        for (const member of members) this.#close(member, 'ahead', answer.newest, turn);
        return turn.effects;
      case 'page': {
        const hasProgress = answer.next > first.follower.next;
        const batch = chunksOfPage(answer, first.follower, this.#textOf);
        for (const member of members) {
          raise(member, answer.newest);
          this.#deliver(member, batch, 'catching up', turn);
        }
        // A page without progress is fetched again only when something else happens.
        if (hasProgress) this.#serve(members, turn);
        return turn.effects;
      }
      default:
        return unreachable(answer);
    }
  }

  /** A page has not come. Its followers ask again when something else happens. */
  missed(ticket: PageTicket): void {
    this.#take(ticket);
  }

  /** The client has everything up to `acked`. */
  acknowledge(id: FollowerId, acked: number): readonly FeedEffect[] {
    const member = this.#members.get(id);
    if (member === undefined) return [];
    if (acked > member.follower.next) {
      const turn = new Turn();
      this.#close(member, 'unsent', member.follower.next, turn);
      return turn.effects;
    }
    member.follower = afterAcknowledgement(member.follower, acked);
    return this.#serveThose(id);
  }

  /**
   * Sends every follower its cursor, and closes those that were left waiting for an acknowledgement at the last
   * heartbeat.
   */
  heartbeat(beatOf: (next: number) => string): readonly FeedEffect[] {
    const turn = new Turn();
    const beats = new Map<number, Chunk>();
    for (const member of this.#members.values()) {
      const { next, pausedBeats } = member.follower;
      if (pausedBeats !== null && pausedBeats > 0) {
        this.#close(member, 'slow', next, turn);
        continue;
      }
      if (pausedBeats !== null) member.follower = { ...member.follower, pausedBeats: 1 };
      const beat = beats.get(next) ?? { text: beatOf(next), changes: 0, next };
      beats.set(next, beat);
      turn.send(member, beat);
    }
    return turn.effects;
  }

  /** The coordinator has changes up to `newest`: unpublished ones are fetched. */
  raise(newest: number): readonly FeedEffect[] {
    for (const member of this.#members.values()) raise(member, newest);
    return this.serve();
  }

  #serveThose(...ids: readonly FollowerId[]): readonly FeedEffect[] {
    const turn = new Turn();
    const members = ids.flatMap((id) => this.#members.get(id) ?? []);
    this.#serve(members, turn);
    return turn.effects;
  }

  #serve(members: Iterable<Member>, turn: Turn): void {
    const batches = new Map<string, ChunkBatch>();
    for (const member of members) {
      if (member.isFetching) continue;
      if (this.#window.reaches(member.follower.next)) {
        const key = pageKeyOf(member);
        const batch = batches.get(key) ?? this.#window.chunksFor(member.follower);
        batches.set(key, batch);
        this.#deliver(member, batch, 'live', turn);
      }
      this.#fetch(member, turn);
    }
  }

  #deliver(
    member: Member,
    { chunks, upTo }: ChunkBatch,
    mode: 'live' | 'catching up',
    turn: Turn,
  ): void {
    for (const chunk of chunks) {
      if (!hasRoomFor(member.follower, chunk)) {
        if (mode === 'live') this.#close(member, 'slow', member.follower.next, turn);
        else member.follower = { ...member.follower, pausedBeats: 0 };
        return;
      }
      turn.send(member, chunk);
      member.follower = afterSending(member.follower, chunk);
    }
    member.follower = { ...member.follower, next: upTo };
  }

  /** Fetches the page that a member needs, once for all that need the same. */
  #fetch(member: Member, turn: Turn): void {
    const { next, target, pausedBeats, prefixes, values, members } = member.follower;
    const { keptAfter, head } = this.#window;
    const isBehind = next < keptAfter || (next < target && next >= head);
    if (!isBehind || pausedBeats !== null || !this.#members.has(member.id)) return;
    if (!hasRoomForPage(member.follower)) {
      member.follower = { ...member.follower, pausedBeats: 0 };
      return;
    }
    member.isFetching = true;
    const key = pageKeyOf(member);
    const same = [...this.#pages.values()].find((page) => page.key === key);
    if (same !== undefined) {
      same.waiting.push(member);
      return;
    }
    this.#lastTicket += 1;
    this.#pages.set(this.#lastTicket, { key, waiting: [member] });
    const query = { since: next, limit: limits.changesPerPage, prefixes, values, members };
    turn.effects.push({ kind: 'fetch', ticket: this.#lastTicket, query });
  }

  /** The followers that wait for a page and are still there. */
  #take(ticket: PageTicket): readonly Member[] {
    const page = this.#pages.get(ticket);
    assert(page !== undefined, 'a page that comes was asked for');
    this.#pages.delete(ticket);
    for (const member of page.waiting) member.isFetching = false;
    return page.waiting.filter(({ id }) => this.#members.has(id));
  }

  #close({ id }: Member, why: CloseReason, position: number, turn: Turn): void {
    turn.effects.push({ kind: 'close', follower: id, why, position });
    this.#members.delete(id);
  }
}

/** The effects of one call. A message that several followers get is one effect. */
class Turn {
  readonly effects: FeedEffect[] = [];
  readonly #sends = new Map<Chunk, FollowerId[]>();

  send({ id }: Member, chunk: Chunk): void {
    const known = this.#sends.get(chunk);
    if (known !== undefined) {
      known.push(id);
      return;
    }
    const to = [id];
    this.#sends.set(chunk, to);
    this.effects.push({ kind: 'send', to, text: chunk.text });
  }
}

function raise(member: Member, newest: number): void {
  const target = Math.max(member.follower.target, newest);
  member.follower = { ...member.follower, target };
}

function groupOf({ values, members, prefixes }: Filter): string {
  return JSON.stringify([values, members, ...prefixes]);
}

function pageKeyOf({ follower, group }: Member): string {
  return `${follower.next} ${group}`;
}
