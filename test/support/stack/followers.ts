/** Clients of the change feed, by WebSocket and by server-sent events. */
import type { Stack } from '../../../local/stack/stack.ts';

/** The members of a stack that followers use. */
export type FollowedStack = Pick<Stack, 'url' | 'tokens'>;

/** The changes that a client of the change feed has got, over all its connections. */
export interface FeedReader {
  /** The query besides the position, such as `prefix=a&values=true`. */
  readonly query: string;
  /** The position from which it resumes. */
  next: number;
  readonly changes: SeenChange[];
}

/** The members of a change that tests read. */
export interface SeenChange {
  readonly sequence: number;
  readonly at: string;
  readonly keys: readonly string[];
  readonly id?: string;
  readonly transaction?: string;
  readonly commands?: readonly (readonly unknown[])[];
  readonly results?: readonly unknown[];
}

interface Message {
  readonly changes?: readonly SeenChange[];
  readonly next: number;
}

/** The reason why a connection ended without its client. */
export type Ending = 'left' | { readonly code: number; readonly reason: string };

/** Follows until `isEnough` is true after a message, or the connection ends. Never rejects. */
export type Follow = (
  stack: FollowedStack,
  reader: FeedReader,
  isEnough: () => boolean,
) => Promise<Ending>;

/** A reader that has got nothing yet. */
export function newReader(since: number, query = ''): FeedReader {
  return { query, next: since, changes: [] };
}

/** Over a WebSocket, every message of which is acknowledged. The token is in the query, as a browser's is. */
export const followBySocket: Follow = (stack, reader, isEnough) => {
  const socket = openSocket(stack, reader);
  const { promise, resolve } = Promise.withResolvers<Ending>();
  let hasLeft = false;
  socket.addEventListener('message', ({ data }) => {
    // Messages after the client has left are dropped, as if they were lost in transit.
    if (hasLeft) return;
    const message: Message = JSON.parse(String(data));
    reader.changes.push(...(message.changes ?? []));
    reader.next = message.next;
    socket.send(JSON.stringify({ ack: message.next }));
    if (!isEnough()) return;
    hasLeft = true;
    socket.close();
    resolve('left');
  });
  socket.addEventListener('close', ({ code, reason }) => resolve({ code, reason }));
  // A `close` follows.
  socket.addEventListener('error', () => {});
  return promise;
};

/** A WebSocket of the feed from the reader's position on, for callers that read its messages themselves. */
export function openSocket({ url, tokens }: FollowedStack, { next, query }: FeedReader): WebSocket {
  const address = `${url.replace('http', 'ws')}/v1/changes`;
  return new WebSocket(`${address}?since=${next}&_token=${tokens.read}&${query}`);
}

/** As server-sent events, resumed by Last-Event-ID. The connection is cut at an arbitrary place of its text. */
export const followByEvents: Follow = async ({ url, tokens }, reader, isEnough) => {
  const leaving = new AbortController();
  try {
    const response = await fetch(`${url}/v1/changes?${reader.query}`, {
      headers: {
        authorization: `Bearer ${tokens.read}`,
        accept: 'text/event-stream',
        'last-event-id': String(reader.next),
      },
      signal: leaving.signal,
    });
    if (response.status !== 200) return { code: response.status, reason: await response.text() };
    for await (const event of eventsOf(response)) {
      const data = event.get('data');
      if (data !== undefined) reader.changes.push(JSON.parse(data));
      reader.next = Number(event.get('id') ?? reader.next);
      if (isEnough()) leaving.abort();
      if (leaving.signal.aborted) break;
    }
    return leaving.signal.aborted ? 'left' : { code: 0, reason: 'the stream has ended' };
  } catch (error) {
    return leaving.signal.aborted ? 'left' : { code: 0, reason: String(error) };
  }
};

/** The events of a stream, as the fields of each. */
async function* eventsOf(response: Response): AsyncGenerator<ReadonlyMap<string, string>> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const bytes of response.body ?? []) {
    text += decoder.decode(bytes, { stream: true });
    const blocks = text.split('\n\n');
    text = blocks.pop() ?? '';
    for (const block of blocks) {
      const fields = block.split('\n').map((line) => line.split(/: (.*)/s));
      yield new Map(fields.map(([name = '', value = '']) => [name, value]));
    }
  }
}

/** Follows over the given number of disconnections, each after a random number of messages. */
export async function followInPieces(
  stack: FollowedStack,
  reader: FeedReader,
  follow: Follow,
  disconnections: number,
  random: () => number,
): Promise<void> {
  for (let left = disconnections; left > 0; ) {
    let messages = Math.floor(random() * 4);
    const ending = await follow(stack, reader, () => {
      messages -= 1;
      return messages < 0;
    });
    if (ending === 'left') left -= 1;
  }
}
