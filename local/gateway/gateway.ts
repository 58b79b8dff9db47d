/** A gateway: an HTTP server with the Upstash REST protocol in front of one Redis, with round trips and faults. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { Fault, Garbage, MetFault, SeenRequest } from './faults.ts';
import { Faults } from './faults.ts';
import type { Asked } from './protocol.ts';
import {
  BadRequest,
  encodeElements,
  encodeError,
  encodeResult,
  parseRequest,
  waits,
} from './protocol.ts';
import { RedisLink, RegionUnreachable, TooManyBlocked } from './redis-link.ts';
import { type AskedStream, GatewayStreams, streamOf } from './streams.ts';

/** The maximum request body in bytes, that of Upstash's smallest plans. */
const bodyBytesMaximum = 10_000_000;

/** The time for which a repeated command may wait for data. */
const repeatWaitMs = 10_000;

/** Shorter round trips are not simulated: timers are too inexact for them. */
const shortestDelayMs = 1;

/** Counts requests, and those in flight. Several gateways may share a meter. */
export class Meter {
  requests = 0;
  bytesIn = 0;
  bytesOut = 0;
  inFlight = 0;
  inFlightMaximum = 0;

  /** Counts a request that has arrived. */
  started(): void {
    this.requests += 1;
    this.inFlight += 1;
    this.inFlightMaximum = Math.max(this.inFlightMaximum, this.inFlight);
  }

  /** Counts a request that was answered, or whose connection is gone. */
  ended(): void {
    this.inFlight -= 1;
  }

  /** Resets the counts. Requests in flight stay counted as such. */
  reset(): void {
    this.requests = 0;
    this.bytesIn = 0;
    this.bytesOut = 0;
    this.inFlightMaximum = this.inFlight;
  }
}

/** The Redis of a gateway, and its simulated distance. */
export interface GatewayOptions {
  /** The port of the region's Redis on 127.0.0.1. */
  readonly redisPort: number;
  /** The bearer token that requests need. */
  readonly token: string;
  /** The delay added to each request, in ms: half before its commands run, half after. Below 1 ms, none. */
  readonly roundTripMs: number;
  /** The port to listen on, on 127.0.0.1. 0 or undefined: any free one. */
  readonly port?: number;
  /** A further meter, shared with other gateways. */
  readonly total?: Meter;
}

/** The time from a request's arrival to its end, by `performance.now()`, with the added round trip. */
export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** A region's HTTP endpoint: the Upstash REST protocol in front of one Redis. */
export interface Gateway {
  readonly url: string;
  readonly port: number;
  readonly token: string;
  readonly faults: Faults;
  readonly meter: Meter;
  /** The number of open streams. */
  readonly streams: { readonly size: number };
  /** Called at the end of each request. */
  readonly observers: Set<(span: Span) => void>;
  /** Resolves once the region's Redis is connected. */
  ready(): Promise<void>;
  /** Closes all connections. Requests in flight are reset. */
  close(): Promise<void>;
}

/**
 * Starts a gateway on 127.0.0.1. While its Redis is unreachable, it answers with 503.
 *
 * @throws the error of `listen` if the port is taken.
 */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const gateway = new GatewayServer(options);
  await gateway.listen(options.port ?? 0);
  return gateway;
}

interface Answer {
  readonly status: number;
  readonly type: 'application/json' | 'text/html' | 'text/plain';
  readonly body: string;
}

/** The end of a request: a response, a stream, or a reset of the connection. */
type Ending = Answer | { readonly stream: AskedStream } | 'reset';

class GatewayServer implements Gateway {
  readonly token: string;
  readonly faults = new Faults();
  readonly meter = new Meter();
  readonly observers = new Set<(span: Span) => void>();
  private readonly roundTripMs: number;
  private readonly meters: readonly Meter[];
  readonly streams: GatewayStreams;
  private readonly link: RedisLink;
  private readonly server: Server;
  private readonly instance = randomBytes(8).toString('hex');
  private answered = 0;

  constructor(options: GatewayOptions) {
    this.token = options.token;
    this.roundTripMs = options.roundTripMs;
    this.meters = options.total === undefined ? [this.meter] : [this.meter, options.total];
    this.link = new RedisLink(options.redisPort);
    this.streams = new GatewayStreams(options.redisPort, options.roundTripMs);
    this.server = createServer({ noDelay: true }, (request, response) => {
      void this.serve(request, response);
    });
    // A client may send a request on an idle connection just as the server closes it, and lose it. So idle ones stay
    // open.
    this.server.keepAliveTimeout = 0;
  }

  get port(): number {
    const address = this.server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async listen(port: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.server.once('error', reject);
    this.server.listen(port, '127.0.0.1', resolve);
    await promise;
    await this.link.connect();
  }

  ready(): Promise<void> {
    return this.link.ready();
  }

  async close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.server.close(() => resolve());
    this.streams.close();
    this.server.closeAllConnections();
    this.link.close();
    await promise;
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const fromMs = performance.now();
    for (const meter of this.meters) meter.started();
    // `close` follows both a response and a reset. A stream is not in flight, since its response has begun.
    let hasEnded = false;
    const ended = () => {
      if (!hasEnded) for (const meter of this.meters) meter.ended();
      hasEnded = true;
    };
    response.once('close', ended);
    // Reading fails if the client has gone, so there is no one to answer.
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const ending = await this.endingOf(request, gone.signal).catch((): Ending => 'reset');
    if (ending === 'reset') request.socket.destroy();
    else if ('stream' in ending) await this.stream(ending.stream, request, response).then(ended);
    else this.send(response, ending);
    const span: Span = { fromMs, toMs: performance.now() };
    for (const observer of this.observers) observer(span);
  }

  private async stream(
    asked: AskedStream,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    if (await this.streams.serve(asked, request, response)) return;
    this.send(response, failed(503, "ERR the region's Redis cannot be reached"));
  }

  private send(response: ServerResponse, answer: Answer): void {
    this.answered += 1;
    const body = Buffer.from(answer.body, 'utf8');
    for (const meter of this.meters) meter.bytesOut += body.length;
    response.writeHead(answer.status, {
      'content-type': answer.type,
      'content-length': body.length,
      // Clients return it to read their own writes. It must change with each write, and may with each response.
      'upstash-sync-token': `${this.instance}=${this.answered}`,
    });
    response.end(body);
  }

  private async endingOf(request: IncomingMessage, gone: AbortSignal): Promise<Ending> {
    const arrivedAt = performance.now();
    const refused = this.faults.onConnection();
    if (refused !== null) {
      refused.reached();
      return 'reset';
    }
    const read = await this.read(request);
    const met = this.faults.onRequest('request' in read ? read.request : null);
    await travel(this.roundTripMs / 2);
    // Timers are late by a millisecond or more. The way back compensates for it.
    const wayThereMs = performance.now() - arrivedAt;
    const ending = await this.spoiled(read, met, gone);
    await travel(this.roundTripMs - wayThereMs);
    return ending;
  }

  /** Runs a request, with its fault before or after the commands. */
  private async spoiled(
    read: ReadRequest,
    met: MetFault | null,
    gone: AbortSignal,
  ): Promise<Ending> {
    const fault = met?.fault ?? null;
    if (met !== null && !isAfterExecution(met.fault)) {
      const ending = await interfere(met);
      if (ending !== 'on') return ending;
    }
    if ('stream' in read) return read;
    const answer = 'request' in read ? await this.execute(read, gone) : read.refused;
    if (fault?.kind === 'duplicate' && 'request' in read) await this.repeat(read, fault.laterMs);
    if (met !== null && isAfterExecution(met.fault)) {
      const ending = await interfere(met);
      if (ending !== 'on') return ending;
    }
    return answer;
  }

  /** Runs a request again, now or later. Nobody waits for a later one, and its reply is dropped. */
  private async repeat(read: GoodRequest, laterMs: number | undefined): Promise<void> {
    const again = () => this.execute(read, AbortSignal.timeout(repeatWaitMs));
    if (laterMs === undefined) await again();
    else void delay(laterMs).then(again);
  }

  private async read(request: IncomingMessage): Promise<ReadRequest> {
    const body = await readBody(request);
    for (const meter of this.meters) meter.bytesIn += body?.length ?? 0;
    const method = request.method ?? 'GET';
    const url = new URL(request.url ?? '/', 'http://gateway');
    try {
      if (body === null) throw new BadRequest(413, 'ERR max request size exceeded');
      this.authorize(request, url);
      const stream = streamOf(method, url);
      if (stream !== null) return { stream };
      const base64 = isBase64(request);
      const asked = parseRequest(method, url, body);
      const text = body.toString('utf8');
      return { request: { method, path: url.pathname, asked, text }, base64 };
    } catch (error) {
      if (!(error instanceof BadRequest)) throw error;
      return { refused: failed(error.status, error.message) };
    }
  }

  /** Compares digests, so that timing reveals nothing about the token. */
  private authorize(request: IncomingMessage, url: URL): void {
    const bearer = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1];
    const given = bearer ?? url.searchParams.get('_token');
    if (given === null || !timingSafeEqual(digest(given), digest(this.token))) {
      throw new BadRequest(401, 'Unauthorized');
    }
  }

  private async execute(read: GoodRequest, gone: AbortSignal): Promise<Answer> {
    try {
      return await this.run(read.request.asked, read.base64, gone);
    } catch (error) {
      if (error instanceof RegionUnreachable) return failed(503, error.message);
      if (error instanceof TooManyBlocked) return failed(429, error.message);
      return failed(500, error instanceof Error ? error.message : String(error));
    }
  }

  private async run(asked: Asked, base64: boolean, gone: AbortSignal): Promise<Answer> {
    if (asked.kind === 'transaction') {
      const replies = await this.link.transaction(asked.commands);
      if (typeof replies === 'string') return failed(400, replies);
      return json(200, encodeElements(replies, base64));
    }
    const replies = asked.commands.some(waits)
      ? await this.link.pipelineThatWaits(asked.commands, gone)
      : await this.link.pipeline(asked.commands);
    if (asked.kind === 'pipeline') return json(200, encodeElements(replies, base64));
    const reply = replies[0] ?? { result: null };
    if ('error' in reply) return failed(400, reply.error);
    return json(200, encodeResult(reply.result, base64));
  }
}

interface GoodRequest {
  readonly request: SeenRequest;
  readonly base64: boolean;
}

type ReadRequest = GoodRequest | { readonly refused: Answer } | { readonly stream: AskedStream };

/** The body, or null if it is too large. Reads it to its end in any case, so that the client sees the refusal. */
async function readBody(request: IncomingMessage): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length <= bodyBytesMaximum) chunks.push(chunk);
  }
  return length <= bodyBytesMaximum ? Buffer.concat(chunks) : null;
}

function isBase64(request: IncomingMessage): boolean {
  const format = request.headers['upstash-response-format'];
  if (format !== undefined && format !== 'json') {
    throw new BadRequest(400, `ERR this gateway does not speak the response format ${format}`);
  }
  return String(request.headers['upstash-encoding']).toLowerCase() === 'base64';
}

function isAfterExecution(fault: Fault): boolean {
  return 'executed' in fault && fault.executed === true;
}

/** Applies a fault. `on`: the request continues. A hang never resolves. */
async function interfere(met: MetFault): Promise<Ending | 'on'> {
  met.reached();
  switch (met.fault.kind) {
    case 'refuse':
    case 'drop':
      return 'reset';
    case 'hang':
      return new Promise<never>(() => {});
    case 'garbage':
      return garbage[met.fault.answer];
    case 'hold':
      await met.fault.until;
      return 'on';
    case 'slow':
      await delay(met.fault.ms);
      return 'on';
    case 'duplicate':
      return 'on';
  }
}

const garbage: Record<Garbage, Answer> = {
  page: { status: 200, type: 'text/html', body: '<!doctype html><title>Welcome</title>' },
  'broken-json': { status: 200, type: 'application/json', body: '{"result":[["yes",' },
  'status-500': { status: 500, type: 'text/plain', body: 'Internal Server Error' },
};

function json(status: number, body: string): Answer {
  return { status, type: 'application/json', body };
}

function failed(status: number, message: string): Answer {
  return json(status, encodeError(message));
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/** Waits as long as a message would travel. */
async function travel(ms: number): Promise<void> {
  if (ms >= shortestDelayMs) await delay(ms);
}
