import type { IncomingMessage, ServerResponse } from 'node:http';
import { Redis } from 'ioredis';
import { eventText } from '../../shared/http/sse.ts';
import { BadRequest, percentDecode } from './protocol.ts';

/** Channels or patterns that a client hears of by server-sent events. */
export interface AskedStream {
  readonly kind: 'subscribe' | 'psubscribe';
  readonly names: readonly Buffer[];
}

/** What a client has not taken yet, in bytes; one that takes nothing is cut off, as Redis does with its subscribers. */
const unsentBytesMaximum = 8_000_000;

/** A comment that finds out whether the client is still there, every so many ms. */
const heartbeatMs = 15_000;

/**
 * The stream that an address asks for, or null if it asks for none. A body says nothing here.
 *
 * @throws BadRequest if it is not well-formed.
 */
export function streamOf(method: string, url: URL): AskedStream | null {
  const [first = '', ...steps] = url.pathname.slice(1).split('/');
  const kind = first.toLowerCase();
  if (kind !== 'subscribe' && kind !== 'psubscribe') return null;
  if (method !== 'GET' && method !== 'POST') {
    throw new BadRequest(405, `Method ${method} is not allowed, use GET or POST`);
  }
  if (steps.length === 0) {
    throw new BadRequest(400, `ERR wrong number of arguments for '${kind}' command`);
  }
  return { kind, names: steps.map(percentDecode) };
}

/** The streams of one gateway, each with a connection of its own to the region's Redis. */
export class GatewayStreams {
  private readonly port: number;
  private readonly roundTripMs: number;
  private readonly open = new Set<ServerResponse>();

  constructor(port: number, roundTripMs: number) {
    this.port = port;
    this.roundTripMs = roundTripMs;
  }

  /** How many are open. */
  get size(): number {
    return this.open.size;
  }

  /** Ends all of them. */
  close(): void {
    for (const response of this.open) response.destroy();
  }

  /**
   * Answers with the stream; it goes on until either side ends it. Resolves once the region has confirmed it, or to false
   * where it did not.
   */
  async serve(
    { kind, names }: AskedStream,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<boolean> {
    const redis = this.connection();
    // A message may be heard in the same breath as the word that its channel is subscribed to.
    const subscribed = Promise.withResolvers<void>();
    redis.on('messageBuffer', async (channel: Buffer, message: Buffer) => {
      await subscribed.promise;
      this.say(response, ['message', channel, message]);
    });
    redis.on('pmessageBuffer', async (pattern: Buffer, channel: Buffer, message: Buffer) => {
      await subscribed.promise;
      this.say(response, ['pmessage', pattern, channel, message]);
    });
    // Whether the gateway, the region or the client ends it, the other sides end too.
    redis.once('close', () => response.destroy());
    response.once('close', () => {
      this.open.delete(response);
      redis.disconnect();
    });
    try {
      await redis.connect();
      // One by one, so that each is confirmed with its own count.
      for (const [index, name] of names.entries()) {
        await redis.call(kind, name);
        if (index === 0) this.begin(request, response);
        this.say(response, [kind, name, String(index + 1)]);
      }
      subscribed.resolve();
      return true;
    } catch {
      redis.disconnect();
      return response.headersSent;
    }
  }

  private connection(): Redis {
    const redis = new Redis({
      host: '127.0.0.1',
      port: this.port,
      lazyConnect: true,
      protocol: 2,
      disableClientInfo: true,
      retryStrategy: () => null,
    });
    // Its end says all that matters.
    redis.on('error', () => {});
    return redis;
  }

  private begin(request: IncomingMessage, response: ServerResponse): void {
    this.open.add(response);
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache',
    });
    response.flushHeaders();
    const timer = setInterval(() => response.write(': heartbeat\n\n'), heartbeatMs);
    response.once('close', () => clearInterval(timer));
    request.resume();
  }

  /** Timers of one length end in the order in which they began, so that messages stay in theirs. */
  private say(response: ServerResponse, words: readonly (string | Buffer)[]): void {
    const text = eventText(words.map((word) => word.toString('utf8')).join(','));
    setTimeout(() => {
      if (response.writableLength > unsentBytesMaximum) response.destroy();
      else if (!response.destroyed) response.write(text);
    }, this.roundTripMs / 2);
  }
}
