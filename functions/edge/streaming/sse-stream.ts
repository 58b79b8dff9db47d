import { limits } from '../../../shared/limits.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import type { OpenStream } from './stream-limit.ts';

/** What comes next of a source. An empty text is passed over. */
export type SseChunk =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'ended'; readonly text?: string };

/** What a stream of events is made of. */
export interface StreamSource {
  readonly dependencies: Pick<EdgeDependencies, 'pause'>;
  readonly open: OpenStream;
  /** Called once all before it has been written. A rejection ends the stream. */
  next(): Promise<SseChunk>;
  /** Asked with each heartbeat. */
  goesOn(): Promise<boolean>;
  /** Ends the source; called once, however the stream ends. */
  stop(): void;
}

const heartbeat = ': heartbeat\n\n';

/**
 * The texts of a source, with a heartbeat where it is silent: a client that is gone is found by it, and proxies keep the
 * connection. The stream has no buffer of its own, so that a slow client slows its source and takes no memory here.
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
