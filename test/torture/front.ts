/** A proxy between clients and the Worker that loses, delays and repeats whole requests and responses. */
import {
  createServer,
  type IncomingMessage,
  request as requestTo,
  type Server,
  type ServerResponse,
} from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { Random } from '../simulation/random.ts';

/** The faults of a line, each as a probability per request. */
export interface LineWeather {
  /** The request does not arrive. */
  readonly lost: number;
  /** The request arrives, and its response does not. */
  readonly cut: number;
  /** The request, or its response, comes late. */
  readonly slow: number;
  /** The request arrives twice at once, or once more later. */
  readonly twice: number;
}

/** A line without faults. */
export const fairWeather: LineWeather = { lost: 0, cut: 0, slow: 0, twice: 0 };

interface Arrived {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

/** The proxy. Its target may change with each request. */
export class FrontProxy {
  weather: LineWeather = fairWeather;
  readonly #random: Random;
  readonly #target: () => string;
  readonly #server: Server;

  private constructor(random: Random, target: () => string) {
    this.#random = random;
    this.#target = target;
    this.#server = createServer({ noDelay: true }, (request, response) => {
      void this.#serve(request, response).catch(() => request.socket.destroy());
    });
    this.#server.keepAliveTimeout = 0;
  }

  /** Starts it on a free port of 127.0.0.1. */
  static async start(random: Random, target: () => string): Promise<FrontProxy> {
    const front = new FrontProxy(random, target);
    const { promise, resolve } = Promise.withResolvers<void>();
    front.#server.listen(0, '127.0.0.1', resolve);
    await promise;
    return front;
  }

  get url(): string {
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  }

  async close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const arrived: Arrived = {
      method: request.method ?? 'GET',
      path: request.url ?? '/',
      headers: request.headers,
      body: Buffer.concat(chunks),
    };
    const { lost, cut, slow, twice } = this.weather;
    const random = this.#random;
    if (random.chance(lost)) {
      request.socket.destroy();
      return;
    }
    if (random.chance(slow)) await delay(random.between(1, slowMs));
    if (mayRepeat(arrived) && random.chance(twice)) this.#repeat(arrived);
    await this.#pass(arrived, response, async () => {
      if (random.chance(slow)) await delay(random.between(1, slowMs));
      return !random.chance(cut);
    });
  }

  /** Sends a request whose response nobody gets. */
  #repeat(arrived: Arrived): void {
    const laterMs = this.#random.chance(0.5) ? 0 : this.#random.between(1, laterMaximumMs);
    const ignored = new Promise<void>((resolve) => {
      setTimeout(() => {
        const sent = requestTo(`${this.#target()}${arrived.path}`, optionsOf(arrived), (answer) => {
          answer.resume();
          answer.once('close', resolve);
        });
        sent.once('error', () => resolve());
        sent.end(arrived.body);
      }, laterMs).unref();
    });
    void ignored;
  }

  /** Passes a request on, and its response back unless `mayAnswer` says otherwise. */
  async #pass(
    arrived: Arrived,
    response: ServerResponse,
    mayAnswer: () => Promise<boolean>,
  ): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const sent = requestTo(`${this.#target()}${arrived.path}`, optionsOf(arrived), resolve);
    sent.once('error', reject);
    response.once('close', () => sent.destroy());
    sent.end(arrived.body);
    const answer = await promise;
    answer.once('error', () => response.destroy());
    if (!(await mayAnswer())) {
      response.destroy();
      return;
    }
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    response.flushHeaders();
    answer.pipe(response);
  }
}

/** The longest delay of a request or a response, in ms. */
const slowMs = 400;

/** The longest time between a request and its late repetition, in ms. */
const laterMaximumMs = 4_000;

function optionsOf({ method, headers }: Arrived) {
  const { connection: _, ...rest } = headers;
  return { method, headers: rest, agent: false } as const;
}

/** A request that carries out something once under its key, or nothing. */
function mayRepeat({ path, headers }: Arrived): boolean {
  return headers['idempotency-key'] !== undefined || path === '/v1/reads';
}
