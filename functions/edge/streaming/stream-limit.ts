import { limits } from '../../../shared/limits.ts';

/** A stream that is open, as its isolate counts it. */
export interface OpenStream {
  /** It has sent something, or tried to. */
  touch(): void;
  close(): void;
}

/**
 * Counts the streams of an isolate. One that has not been touched for some heartbeats counts no more: where the platform
 * ends a request, nothing of it need run again, so that nobody would close it.
 */
export class OpenStreams {
  readonly #now: () => number;
  readonly #touchedAt = new Map<OpenStream, number>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** A further stream, or null where there are too many. */
  open(): OpenStream | null {
    if (this.#touchedAt.size >= limits.streamsPerIsolate) this.#forgetAbandoned();
    if (this.#touchedAt.size >= limits.streamsPerIsolate) return null;
    const stream: OpenStream = {
      touch: () => void this.#touchedAt.set(stream, this.#now()),
      close: () => void this.#touchedAt.delete(stream),
    };
    stream.touch();
    return stream;
  }

  #forgetAbandoned(): void {
    for (const [stream, at] of this.#touchedAt) {
      if (this.#now() - at > 3 * limits.heartbeatMs) stream.close();
    }
  }
}
