import type { Feed, FeedConnection, FeedEvent, FollowQuery } from '../http/dependencies.ts';

/** What a connection that the network ended is said to have been closed with. */
const abnormalClosure = 1_006;

/** The feed behind a Durable Object, which follows by WebSocket. */
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

/** The host means nothing: the binding has led to the object already. */
function addressOf({ since, prefixes, values, members }: FollowQuery): string {
  const query = new URLSearchParams({ values: String(values), members: String(members) });
  if (since !== null) query.set('since', String(since));
  for (const prefix of prefixes) query.append('prefix', prefix);
  return `https://feed.invalid/?${query}`;
}

/** Keeps what has come until it is asked for. The feed bounds it: it sends no more than its window unacknowledged. */
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
      // The other side waits for it in vain where the socket's end was not its own doing.
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
      // It was closed before, which is all that is wanted.
    }
  }

  #take(event: FeedEvent): void {
    if (event.kind === 'message') this.#waiting.push(event);
    else this.#end ??= event;
    this.#wake?.();
    this.#wake = null;
  }
}
