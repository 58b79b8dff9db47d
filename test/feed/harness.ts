/** A feed with its log and clients in memory; the test decides when each message arrives. */
import type { MemberChange } from '../../shared/contracts/members.ts';
import type {
  Change,
  ChangesAnswer,
  ChangesQuery,
} from '../../shared/contracts/webhooks-and-feed.ts';
import { FeedCore, type FeedEffect, type FollowerId } from '../../shared/protocol/feed/feed.ts';
import {
  beginFollower,
  type Filter,
  type Follower,
  isWanted,
} from '../../shared/protocol/feed/follower.ts';

/** A change with these keys, as the coordinator returns it. */
export function changeOf(sequence: number, keys: readonly string[] = ['key']): Change {
  return { sequence, id: `0-${sequence}`, transaction: `0.1.${sequence}`, at: sequence, keys };
}

/** A change of members, as the coordinator returns it. */
export function memberChangeOf(sequence: number): Change {
  const fixed = { at: sequence, epoch: 2, region: 'a', event: 'out', cause: 'silent' } as const;
  const member: MemberChange = { ...fixed, sequence, detail: 'it did not answer' };
  return { sequence, id: '', transaction: '', at: sequence, keys: [], member };
}

/** Changes `from` up to `to`, all on one key. */
export function changesOf(from: number, to: number, keys?: readonly string[]): readonly Change[] {
  return Array.from({ length: to - from + 1 }, (_, index) => changeOf(from + index, keys));
}

/** The messages that a client has got. */
export interface Client {
  readonly id: FollowerId;
  readonly since: number;
  readonly filter: Filter;
  readonly sequences: number[];
  /** The positions that it got, in order. */
  readonly positions: number[];
  end: { readonly why: string; readonly position: number } | null;
}

interface Message {
  readonly changes?: readonly { readonly sequence: number; readonly values: boolean }[];
  readonly next: number;
}

/** A coordinator's log, a feed with its followers, and their clients; the caller controls every delay. */
export class FeedHarness {
  readonly log: Change[] = [];
  readonly clients: Client[] = [];
  /** Pages that were requested and have not arrived. */
  pages: Extract<FeedEffect, { kind: 'fetch' }>[] = [];
  core: FeedCore;
  readonly #attached = new Map<FollowerId, Follower>();

  constructor() {
    this.core = this.#newCore();
  }

  get newest(): number {
    return this.log.length;
  }

  commit(...keys: readonly string[]): void {
    this.log.push(changeOf(this.newest + 1, keys));
  }

  /** Changes the members: a region leaves, or comes back. */
  changeMembers(): void {
    this.log.push(memberChangeOf(this.newest + 1));
  }

  join(since: number, filter: Filter = { prefixes: [], values: false, members: false }): Client {
    const id = this.clients.length + 1;
    const client: Client = { id, since, filter, sequences: [], positions: [], end: null };
    this.clients.push(client);
    this.perform(this.core.join(id, beginFollower(since, this.newest, filter)));
    this.keep(id);
    return client;
  }

  publish(changes: readonly Change[]): void {
    this.core.publish(changes);
  }

  serve(): void {
    this.perform(this.core.serve());
  }

  acknowledge(client: Client, place: number): void {
    this.perform(this.core.acknowledge(client.id, place));
    this.keep(client.id);
  }

  /** Delivers the requested page number `index`, with at most `limit` changes. */
  page(index = 0, limit = Number.POSITIVE_INFINITY): void {
    const [fetch] = this.pages.splice(index, 1);
    if (fetch !== undefined) {
      this.perform(this.core.paged(fetch.ticket, this.#answer(fetch.query, limit)));
    }
  }

  miss(index: number): void {
    const [fetch] = this.pages.splice(index, 1);
    if (fetch !== undefined) this.core.missed(fetch.ticket);
  }

  heartbeat(): void {
    this.perform(this.core.heartbeat((next) => JSON.stringify({ heartbeat: true, next })));
    this.perform(this.core.serve());
    for (const id of this.#attached.keys()) this.keep(id);
  }

  /** Publishes the newest change again: the coordinator does not know that the feed has it. */
  announce(): void {
    this.publish(this.log.slice(-1));
  }

  /** The feed loses its memory except the state attached to its sockets. */
  sleep(): void {
    this.pages = [];
    this.core = this.#newCore();
    for (const [id, follower] of this.#attached) this.core.restore(id, follower);
  }

  /** Delivers everything that is in progress. */
  settle(): void {
    this.announce();
    this.heartbeat();
    while (this.pages.length > 0) this.page();
  }

  /** The changes that a client has to get in the end. */
  expectedOf({ since, filter }: Client, upTo = this.newest): readonly number[] {
    return this.log
      .filter(
        (change) => change.sequence > since && change.sequence <= upTo && isWanted(filter, change),
      )
      .map(({ sequence }) => sequence);
  }

  perform(effects: readonly FeedEffect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'fetch') this.pages.push(effect);
      if (effect.kind === 'send') {
        for (const id of effect.to) this.#receive(id, JSON.parse(effect.text));
      }
      if (effect.kind !== 'close') continue;
      const client = this.#client(effect.follower);
      if (client.end !== null) throw new Error('the client was closed before');
      client.end = { why: effect.why, position: effect.position };
      this.#attached.delete(effect.follower);
    }
  }

  keep(id: FollowerId): void {
    const follower = this.core.follower(id);
    if (follower !== null) this.#attached.set(id, structuredClone(follower));
  }

  #receive(id: FollowerId, { changes = [], next }: Message): void {
    const client = this.#client(id);
    if (client.end !== null) throw new Error('the client got a message after its end');
    client.sequences.push(...changes.map(({ sequence }) => sequence));
    if (changes.some(({ values }) => values !== client.filter.values)) {
      throw new Error('the client got values against its filter');
    }
    client.positions.push(next);
    this.keep(id);
  }

  #client(id: FollowerId): Client {
    const client = this.clients[id - 1];
    if (client === undefined) throw new Error(`there is no client ${id}`);
    return client;
  }

  #answer({ since, ...filter }: ChangesQuery, limit: number): ChangesAnswer {
    const wanted = this.log.filter((change) => change.sequence > since && isWanted(filter, change));
    const changes = wanted.slice(0, limit);
    const isAll = changes.length === wanted.length;
    const next = isAll ? this.newest : (changes.at(-1)?.sequence ?? since);
    return { kind: 'page', changes, next, newest: this.newest };
  }

  #newCore(): FeedCore {
    return new FeedCore(({ sequence, keys }, values) => JSON.stringify({ sequence, keys, values }));
  }
}
