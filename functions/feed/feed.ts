/** The Durable Object of the change feed. */
import { DurableObject } from 'cloudflare:workers';
import { assert, unreachable } from '../../shared/assert.ts';
import type { CoordinatorApi } from '../../shared/contracts/coordinator.ts';
import { coordinatorIn } from '../../shared/contracts/objects.ts';
import {
  type RpcAnswer,
  type RpcCall,
  type Served,
  serveCall,
} from '../../shared/contracts/rpc.ts';
import type { Change, ChangesAnswer, FeedApi } from '../../shared/contracts/webhooks-and-feed.ts';
import { feedCloseCodes } from '../../shared/http/feed-messages.ts';
import { shardNameOf, shardOfName } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { FeedCore, type FeedEffect, type FollowerId } from '../../shared/protocol/feed/feed.ts';
import { beginFollower, type Follower } from '../../shared/protocol/feed/follower.ts';
import { beatText, changeText, parseAcknowledgement, parseFollowing } from './messages.ts';

type FetchEffect = Extract<FeedEffect, { kind: 'fetch' }>;

/**
 * Sends the changes of a shard to its followers, each over a WebSocket that survives the object's hibernation. The
 * object stores nothing: each follower's position is attached to its socket, and the coordinator's log has all changes (R29).
 *
 * A client acknowledges each message by `{"ack":<next>}`. A client that falls some thousand changes behind is
 * disconnected as too slow, with the position from which it can continue.
 */
export class ChangeFeed extends DurableObject<Env> implements FeedApi {
  readonly #core = new FeedCore(changeText);
  readonly #coordinator: CoordinatorApi;
  readonly #sockets = new Map<FollowerId, WebSocket>();
  readonly #ids = new Map<WebSocket, FollowerId>();
  /** Pages that wait for a free slot. */
  readonly #pages: FetchEffect[] = [];
  #pagesInFlight = 0;
  /** The number of followers being accepted. They count, so that the coordinator does not stop publishing meanwhile. */
  #arriving = 0;
  #lastId = 0;
  #servedAt = 0;
  #timer: ReturnType<typeof setTimeout> | null = null;

  constructor(context: DurableObjectState, environment: Env) {
    super(context, environment);
    // An alarm that was set before the platform gave objects their names wakes the feed of the only shard of that time.
    const { name = shardNameOf(0) } = context.id;
    const shard = shardOfName(name);
    assert(shard !== null, `a feed has the name of its shard, not ${JSON.stringify(name)}`);
    this.#coordinator = coordinatorIn(environment.COORDINATOR, shard);
    for (const socket of context.getWebSockets()) this.#wake(socket);
  }

  /**
   * Accepts a follower, with `since`, `prefix`, `values` and `members` in the query. Without `since`, it starts after
   * the newest change. The edge has authenticated the client. 503 if the feed is full or the coordinator does not
   * answer.
   */
  override async fetch(request: Request): Promise<Response> {
    if (request.headers.get('upgrade')?.toLowerCase() !== 'websocket') {
      return new Response('This URL accepts WebSocket connections only.\n', { status: 426 });
    }
    const following = parseFollowing(new URL(request.url).searchParams);
    if (following === null) return new Response('The query is invalid.\n', { status: 400 });
    if (this.#core.size + this.#arriving >= limits.followers) return unavailable();
    this.#arriving += 1;
    try {
      const newest = await this.#coordinator.follow();
      const { since = newest, ...filter } = following;
      const { 0: client, 1: server } = new WebSocketPair();
      this.ctx.acceptWebSocket(server);
      const id = this.#know(server);
      this.#perform(this.#core.join(id, beginFollower(since, newest, filter)));
      this.#keep(id);
      await this.#armHeartbeat();
      return new Response(null, { status: 101, webSocket: client });
    } catch (error) {
      console.error('a follower was not accepted', error);
      return unavailable();
    } finally {
      this.#arriving -= 1;
    }
  }

  /** Calls a method of `FeedApi`. */
  call(call: RpcCall): Promise<RpcAnswer> {
    const proof = { none: 'it stores nothing' };
    const served: Served<FeedApi> = {
      publish: { proof, run: (changes) => this.publish(changes) },
    };
    return serveCall(served, null, call);
  }

  /**
   * Receives the coordinator's newest changes, to be sent with those of the next `limits.feedCoalesceMs`. Returns the
   * number of followers.
   */
  async publish(changes: readonly Change[]): Promise<number> {
    this.#core.publish(changes);
    this.#serveSoon();
    return this.#core.size + this.#arriving;
  }

  override webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): void {
    const id = this.#ids.get(socket);
    if (id === undefined) return;
    const acked = parseAcknowledgement(message);
    if (acked === null) {
      this.#forget(socket);
      socket.close(1_008, 'Send only {"ack":<sequence>}.');
      return;
    }
    this.#perform(this.#core.acknowledge(id, acked));
    this.#keep(id);
  }

  override webSocketClose(socket: WebSocket): void {
    this.#forget(socket);
    // Completes the closing handshake, for which the client would otherwise wait until its timeout.
    socket.close(1_000);
  }

  override webSocketError(socket: WebSocket): void {
    this.#forget(socket);
  }

  /**
   * Sends heartbeats, and requests missing pages again. The coordinator publishes each change until this object has it,
   * so it is rarely asked for its newest change: each request would wake it.
   */
  override async alarm(): Promise<void> {
    if (this.#core.size === 0) return;
    const now = Date.now();
    await this.ctx.storage.setAlarm(now + limits.heartbeatMs);
    this.#perform(this.#core.heartbeat(beatText));
    this.#perform(this.#core.serve());
    for (const id of this.#sockets.keys()) this.#keep(id);
    if (asksAt(now) !== asksAt(now - limits.heartbeatMs)) await this.#askHowFar();
  }

  async #askHowFar(): Promise<void> {
    try {
      const newest = await this.#coordinator.follow();
      // Delayed, because a change that is being published right now needs no page.
      setTimeout(() => this.#perform(this.#core.raise(newest)), limits.heartbeatMs / 10);
    } catch (error) {
      console.error('the coordinator did not report its newest change', error);
    }
  }

  #serveSoon(): void {
    if (this.#timer !== null) return;
    const waitMs = Math.max(0, this.#servedAt + limits.feedCoalesceMs - Date.now());
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#servedAt = Date.now();
      this.#perform(this.#core.serve());
    }, waitMs);
  }

  #perform(effects: readonly FeedEffect[]): void {
    for (const effect of effects) {
      switch (effect.kind) {
        case 'send':
          for (const id of effect.to) this.#send(id, effect.text);
          break;
        case 'close':
          this.#dismiss(effect);
          break;
        case 'fetch':
          this.#pages.push(effect);
          break;
        default:
          unreachable(effect);
      }
    }
    while (this.#pagesInFlight < limits.feedPagesInFlight) {
      const page = this.#pages.shift();
      if (page === undefined) break;
      void this.#fetchPage(page);
    }
  }

  #send(id: FollowerId, text: string): void {
    const socket = this.#sockets.get(id);
    if (socket === undefined) return;
    try {
      socket.send(text);
      this.#keep(id);
    } catch {
      // The connection is gone, and `webSocketClose` may never be called for it.
      this.#forget(socket);
    }
  }

  #dismiss({ follower, why, position }: Extract<FeedEffect, { kind: 'close' }>): void {
    const socket = this.#sockets.get(follower);
    if (socket === undefined) return;
    this.#forget(socket);
    socket.close(feedCloseCodes[why], String(position));
  }

  async #fetchPage({ ticket, query }: FetchEffect): Promise<void> {
    this.#pagesInFlight += 1;
    const answer = await this.#ask(query);
    this.#pagesInFlight -= 1;
    if (answer === null) this.#core.missed(ticket);
    this.#perform(answer === null ? [] : this.#core.paged(ticket, answer));
  }

  async #ask(query: FetchEffect['query']): Promise<ChangesAnswer | null> {
    try {
      return await this.#coordinator.changes(query);
    } catch (error) {
      console.error('a page of changes did not arrive', error);
      return null;
    }
  }

  #know(socket: WebSocket): FollowerId {
    this.#lastId += 1;
    this.#sockets.set(this.#lastId, socket);
    this.#ids.set(socket, this.#lastId);
    return this.#lastId;
  }

  #wake(socket: WebSocket): void {
    if (socket.readyState !== WebSocket.OPEN) return;
    // Only `#keep` attaches a value.
    const follower: Follower | null = socket.deserializeAttachment();
    if (follower !== null) this.#core.restore(this.#know(socket), follower);
  }

  /** Attaches the follower's state to its socket, which survives hibernation. */
  #keep(id: FollowerId): void {
    const follower = this.#core.follower(id);
    if (follower !== null) this.#sockets.get(id)?.serializeAttachment(follower);
  }

  #forget(socket: WebSocket): void {
    const id = this.#ids.get(socket);
    if (id === undefined) return;
    this.#core.leave(id);
    this.#ids.delete(socket);
    this.#sockets.delete(id);
  }

  async #armHeartbeat(): Promise<void> {
    const armedAt = await this.ctx.storage.getAlarm();
    if (armedAt === null) await this.ctx.storage.setAlarm(Date.now() + limits.heartbeatMs);
  }
}

/**
 * The number of the period in which `now` lies. The object asks once per period, and remembers nothing in hibernation.
 */
function asksAt(now: number): number {
  return Math.floor(now / limits.feedAsksEveryMs);
}

function unavailable(): Response {
  return new Response(null, { status: 503, headers: { 'retry-after': '5' } });
}
