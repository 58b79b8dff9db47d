/** Connects the edge to the feed's Durable Object by WebSocket. */
import type { Feed, FeedConnection, FeedEvent, FollowQuery } from '../http/dependencies.ts';

/** The close code of a connection that the network ended (RFC 6455). */
const abnormalClosure = 1_006;

/** The feed behind the Durable Object `object`. */
export function connectFeed(object: Pick<Fetcher, 'fetch'>): Feed {
  const upgrade = async (query: FollowQuery): Promise<Response> => {
    const response = await object.fetch(addressOf(query), { headers: { Upgrade: 'websocket' } });
    if (response.webSocket) return response;
    throw new Error(`the feed answered ${response.status}: ${await response.text()}`);
  };
  return {
    upgrade,
    async open(query) {
      const { webSocket } = await upgrade(query);
      if (!webSocket) throw new Error('the feed answered without a WebSocket');
      return new SocketConnection(webSocket);
    },
  };
}

/** The host is arbitrary: the binding already leads to the object. */
function addressOf({ since, prefixes, values, members }: FollowQuery): string {
  const query = new URLSearchParams({ values: String(values), members: String(members) });
  if (since !== null) query.set('since', String(since));
  for (const prefix of prefixes) query.append('prefix', prefix);
  return `https://feed.invalid/?${query}`;
}

/**
 * Queues messages until they are requested. The feed bounds the queue: it sends at most a window of unacknowledged
 * ones.
 */
class SocketConnection implements FeedConnection {
  readonly #socket: WebSocket;
  readonly #waiting: FeedEvent[] = [];
  #end: FeedEvent | null = null;
  #wake: (() => void) | null = null;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => {
      if (typeof data === 'string') this.#take({ kind: 'message', text: data });
    });
    socket.addEventListener('close', ({ code, reason }) => {
      this.#take({ kind: 'closed', code, reason });
      // Completes the closing handshake: the other side waits for it if it began the close.
      this.close();
    });
    socket.addEventListener('error', () => {
      this.#take({ kind: 'closed', code: abnormalClosure, reason: '' });
    });
    socket.accept();
  }

  async next(): Promise<FeedEvent> {
    for (;;) {
      const event = this.#waiting.shift() ?? this.#end;
      if (event !== null) return event;
      await new Promise<void>((wake) => {
        this.#wake = wake;
      });
    }
  }

  acknowledge(next: number): void {
    if (this.#end === null) this.#socket.send(JSON.stringify({ ack: next }));
  }

  close(): void {
    try {
      this.#socket.close(1_000);
    } catch {
      // It was closed already.
    }
  }

  #take(event: FeedEvent): void {
    if (event.kind === 'message') this.#waiting.push(event);
    else this.#end ??= event;
    this.#wake?.();
    this.#wake = null;
  }
}
