/** Streams server-sent events with heartbeats. */
import { limits } from '../../../shared/limits.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import type { OpenStream } from './stream-limit.ts';

/** The next output of a source. An empty text is skipped. */
export type SseChunk =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'ended'; readonly text?: string };

/** The source of a stream of events. */
export interface StreamSource {
  readonly dependencies: Pick<EdgeDependencies, 'pause'>;
  readonly open: OpenStream;
  /** Called once all earlier text has been written. A rejection ends the stream. */
  next(): Promise<SseChunk>;
  /** Whether the stream is to continue; called with each heartbeat. */
  goesOn(): Promise<boolean>;
  /** Ends the source. Called once, however the stream ends. */
  stop(): void;
}

const heartbeat = ': heartbeat\n\n';

/**
 * Streams the texts of a source, with heartbeats while it is silent: they detect clients that are gone, and keep
 * proxies from closing the connection. The stream has no buffer, so a slow client slows its source and takes no memory
 * here.
 */
export function beating(source: StreamSource): ReadableStream<Uint8Array> {
  const { dependencies, open } = source;
  const encoder = new TextEncoder();
  let piece: Promise<SseChunk> | null = null;
  let beat: Promise<'beat'> | null = null;
  let isOver = false;
  const end = () => {
    if (isOver) return;
    isOver = true;
    open.close();
    source.stop();
  };
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        open.touch();
        for (;;) {
          piece ??= source.next().catch((): SseChunk => ({ kind: 'ended' }));
          beat ??= dependencies.pause(limits.heartbeatMs).then(() => 'beat' as const);
          const come = await Promise.race([piece, beat]);
          if (come === 'beat') beat = null;
          else piece = null;
          const said = come === 'beat' ? await beatOf(source) : come;
          if (isOver) return;
          if (said.text) controller.enqueue(encoder.encode(said.text));
          if (said.kind === 'ended') {
            end();
            controller.close();
            return;
          }
          if (said.text) return;
        }
      },
      cancel: end,
    },
    { highWaterMark: 0 },
  );
}

async function beatOf(source: StreamSource): Promise<SseChunk> {
  const goesOn = await source.goesOn().catch(() => false);
  return goesOn ? { kind: 'text', text: heartbeat } : { kind: 'ended' };
}
