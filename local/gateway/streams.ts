/** The streams of a gateway: SUBSCRIBE and PSUBSCRIBE as server-sent events. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Redis } from 'ioredis';
import { eventText } from '../../shared/http/sse.ts';
import { BadRequest, percentDecode } from './protocol.ts';

/** The channels or patterns of a stream. */
export interface AskedStream {
  readonly kind: 'subscribe' | 'psubscribe';
  readonly names: readonly Buffer[];
}

/** The maximum of unsent bytes of a client. Above it, it is disconnected, as Redis does with slow subscribers. */
const unsentBytesMaximum = 8_000_000;

/** The interval of comments that detect whether the client is still connected. */
const heartbeatMs = 15_000;

/**
 * The stream that a URL asks for, or null if it asks for none. Bodies are ignored.
 *
 * @throws BadRequest if it is malformed.
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

/** The streams of one gateway, each with its own connection to the region's Redis. */
export class GatewayStreams {
  private readonly port: number;
  private readonly roundTripMs: number;
  private readonly open = new Set<ServerResponse>();

  constructor(port: number, roundTripMs: number) {
    this.port = port;
    this.roundTripMs = roundTripMs;
  }

  /** The number of open streams. */
  get size(): number {
    return this.open.size;
  }

  /** Closes all streams. */
  close(): void {
    for (const response of this.open) response.destroy();
  }

  /**
   * Answers with a stream that lasts until either side ends it. Resolves to true once the region has confirmed the
   * subscription, or to false if it did not.
   */
  async serve(
    { kind, names }: AskedStream,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<boolean> {
    const redis = this.connection();
    // A message may arrive together with the confirmation of its channel.
    const subscribed = Promise.withResolvers<void>();
    redis.on('messageBuffer', async (channel: Buffer, message: Buffer) => {
      await subscribed.promise;
      this.say(response, ['message', channel, message]);
    });
    redis.on('pmessageBuffer', async (pattern: Buffer, channel: Buffer, message: Buffer) => {
      await subscribed.promise;
      this.say(response, ['pmessage', pattern, channel, message]);
    });
    // If the gateway, the region or the client closes its end, the others close as well.
    redis.once('close', () => response.destroy());
    response.once('close', () => {
      this.open.delete(response);
      redis.disconnect();
    });
    try {
      await redis.connect();
      // One by one, so that each confirmation has its own count.
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
    // The `close` event is all that matters.
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

  /** Delayed by timers of equal length, which keep the order of messages. */
  private say(response: ServerResponse, words: readonly (string | Buffer)[]): void {
    const text = eventText(words.map((word) => word.toString('utf8')).join(','));
    setTimeout(() => {
      if (response.writableLength > unsentBytesMaximum) response.destroy();
      else if (!response.destroyed) response.write(text);
    }, this.roundTripMs / 2);
  }
}
