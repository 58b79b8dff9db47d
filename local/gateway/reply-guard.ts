/**
 * Guards the parser of the Redis client library, which recurses into nested replies: a script may return a table that
 * contains itself, and its reply would crash the process. Replies that are nested too deeply or too large become
 * errors; all others pass unchanged.
 */

/** The limits of a reply. */
export interface ReplyBounds {
  /** Nested arrays. */
  readonly depth: number;
  readonly bytes: number;
}

/** More than any command returns by itself: XINFO STREAM FULL has five levels. */
const boundsDefault: ReplyBounds = { depth: 128, bytes: 256_000_000 };

const newline = 0x0a;
/** The part of a line that is read: its type and length, which are shorter. */
const headCharacters = 24;

/** Follows the RESP2 replies of one connection, without recursion. */
export class ReplyGuard {
  private readonly bounds: ReplyBounds;
  /** The beginning of an incomplete line. */
  private head = '';
  /** The missing bytes of a bulk string, including its line break. */
  private bulkLeft = 0;
  /** The missing elements of each open array. */
  private readonly open: number[] = [];
  private held: Buffer[] = [];
  private heldBytes = 0;
  private refusal: string | null = null;

  constructor(bounds: ReplyBounds = boundsDefault) {
    this.bounds = bounds;
  }

  /** Takes a chunk from the server. Returns the replies that it completes, for the parser. */
  push(chunk: Buffer): readonly Buffer[] {
    const passed: Buffer[] = [];
    let from = 0;
    let at = 0;
    while (at < chunk.length) {
      at = this.bulkLeft > 0 ? this.skipBulk(chunk, at) : this.readLine(chunk, at);
      if (this.bulkLeft > 0 || this.head !== '' || this.open.length > 0) continue;
      this.hold(chunk.subarray(from, at));
      passed.push(...this.take());
      from = at;
    }
    if (from < chunk.length) this.hold(chunk.subarray(from));
    return passed;
  }

  private skipBulk(chunk: Buffer, at: number): number {
    const skipped = Math.min(this.bulkLeft, chunk.length - at);
    this.bulkLeft -= skipped;
    if (this.bulkLeft === 0) this.endElement();
    return at + skipped;
  }

  private readLine(chunk: Buffer, at: number): number {
    const end = chunk.indexOf(newline, at);
    const until = end < 0 ? chunk.length : end + 1;
    const wanted = headCharacters - this.head.length;
    this.head += chunk.toString('latin1', at, Math.min(until, at + wanted));
    if (end >= 0) this.endLine();
    return until;
  }

  private endLine(): void {
    const [type] = this.head;
    const count = Number.parseInt(this.head.slice(1), 10);
    this.head = '';
    if (type === '$' && count >= 0) this.bulkLeft = count + 2;
    else if (type === '*' && count > 0) this.openArray(count);
    else this.endElement();
  }

  private openArray(count: number): void {
    this.open.push(count);
    if (this.open.length > this.bounds.depth) {
      this.refuse(`ERR the reply is nested deeper than ${this.bounds.depth} levels`);
    }
  }

  private endElement(): void {
    while (this.open.length > 0) {
      const left = (this.open.pop() ?? 1) - 1;
      if (left > 0) {
        this.open.push(left);
        return;
      }
    }
  }

  private hold(piece: Buffer): void {
    this.heldBytes += piece.length;
    if (this.heldBytes > this.bounds.bytes) {
      this.refuse(`ERR the reply has more than ${this.bounds.bytes} bytes`);
    }
    if (this.refusal === null) this.held.push(piece);
  }

  private refuse(reason: string): void {
    this.refusal ??= reason;
    this.held = [];
  }

  private take(): readonly Buffer[] {
    const { held, refusal } = this;
    this.held = [];
    this.heldBytes = 0;
    this.refusal = null;
    return refusal === null ? held : [Buffer.from(`-${refusal}\r\n`)];
  }
}
