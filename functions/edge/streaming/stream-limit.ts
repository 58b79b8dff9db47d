/** Limits the number of streams that an isolate has open. */
import { limits } from '../../../shared/limits.ts';

/** An open stream in the count of its isolate. */
export interface OpenStream {
  /** Marks the stream as alive. */
  touch(): void;
  close(): void;
}

/**
 * Counts the open streams of an isolate. A stream that has not been touched for three heartbeats no longer counts: if
 * the platform ends a request, none of its code need run again, so nothing would close the stream.
 */
export class OpenStreams {
  readonly #now: () => number;
  readonly #touchedAt = new Map<OpenStream, number>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Opens a stream, or returns null if too many are open. */
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
