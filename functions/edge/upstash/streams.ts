/** Serves SUBSCRIBE, PSUBSCRIBE and MONITOR as server-sent events. */
import type { UpstashRefusal } from '../../../shared/upstash/request.ts';
import type { UpstashStream } from '../../../shared/upstash/streams.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import type { EdgeContext } from '../http/respond.ts';
import { shardOfAll } from '../http/shards.ts';
import type { RegionReader } from '../reads/region-reader.ts';
import { monitorStream } from '../streaming/monitor-stream.ts';
import { type OpenStream, OpenStreams } from '../streaming/stream-limit.ts';
import { findStream, messageStream } from '../streaming/subscribe-stream.ts';
import { failed } from './request.ts';

/** Opens the streams of an isolate, up to its limit. */
export class UpstashStreams {
  readonly #dependencies: EdgeDependencies;
  readonly #reader: RegionReader;
  readonly #open: OpenStreams;

  constructor(dependencies: EdgeDependencies, reader: RegionReader) {
    this.#dependencies = dependencies;
    this.#reader = reader;
    this.#open = new OpenStreams(() => dependencies.now());
  }

  /** Answers with a stream that lasts until either side ends it, or returns a refusal. */
  async serve(context: EdgeContext, asked: UpstashStream): Promise<Response | UpstashRefusal> {
    const open = this.#open.open();
    if (open === null) {
      return { status: 429, error: 'ERR too many streams are open; reconnect later' };
    }
    const answer = await (asked.kind === 'monitor'
      ? this.#monitor(context, open)
      : this.#subscribe(context, asked, open));
    if (!(answer instanceof Response)) open.close();
    return answer;
  }

  async #subscribe(
    context: EdgeContext,
    asked: Exclude<UpstashStream, { kind: 'monitor' }>,
    open: OpenStream,
  ): Promise<Response | UpstashRefusal> {
    const dependencies = this.#dependencies;
    const origin = {
      dependencies,
      directory: this.#reader.directory,
      location: dependencies.locate(context.req.raw),
      background: (work: Promise<void>) => dependencies.inBackground(context, work),
    };
    const found = await findStream(origin, asked);
    if (found.kind === 'none') {
      const named = found.faults.map(({ region, reason }) => `${region}: ${reason}`).join('; ');
      dependencies.log('no region streams', { faults: found.faults });
      return { status: 503, error: `ERR No region could open the stream. ${named}` };
    }
    const body = messageStream(origin, asked, found, open);
    return eventsOf(context, body, { 'Lockstep-Region': found.region });
  }

  async #monitor(context: EdgeContext, open: OpenStream): Promise<Response | UpstashRefusal> {
    const query = { since: null, prefixes: [], values: true, members: false };
    const shard = shardOfAll(this.#dependencies);
    if (!shard.ok) return { status: 400, error: failed(shard.problem).error };
    try {
      const connection = await this.#dependencies.feedOf(shard.value).open(query);
      return eventsOf(context, monitorStream(this.#dependencies, connection, open), {});
    } catch (error) {
      this.#dependencies.log('feed did not answer', { error: String(error) });
      const refusal = 'ERR The feed could not be reached, or has too many followers. Reconnect.';
      return { status: 503, error: refusal };
    }
  }
}

function eventsOf(
  context: EdgeContext,
  body: ReadableStream<Uint8Array>,
  headers: Readonly<Record<string, string>>,
): Response {
  return context.body(body, 200, {
    'Content-Type': 'text/event-stream; charset=utf-8',
    'Cache-Control': 'no-store, no-transform',
    'X-Accel-Buffering': 'no',
    ...headers,
  });
}
