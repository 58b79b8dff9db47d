/**
 * Stands between a Redis and the parser of its client library, which calls itself once per level of nesting: a script
 * may return a table that holds itself, and the reply would end the process. Replies that are nested too deeply, or are
 * too large to be held, become an error of their own; all others pass as they came.
 */

/** What one reply may be. */
export interface ReplyBounds {
  /** Arrays within arrays. */
  readonly depth: number;
  readonly bytes: number;
}

/** More than any command replies by itself: XINFO STREAM FULL comes to five levels. */
const boundsDefault: ReplyBounds = { depth: 128, bytes: 256_000_000 };

const newline = 0x0a;
/** Of a line the type and a length are read, which are shorter. */
const headCharacters = 24;

/** Follows the replies of one connection in the format RESP2, without calling itself. */
export class ReplyGuard {
  private readonly bounds: ReplyBounds;
  /** The beginning of a line that has not ended yet. */
  private head = '';
  /** Bytes of a bulk string still to come, with its line break. */
  private bulkLeft = 0;
  /** Elements still to come, per array that is open. */
  private readonly open: number[] = [];
  private held: Buffer[] = [];
  private heldBytes = 0;
  private refusal: string | null = null;

  constructor(bounds: ReplyBounds = boundsDefault) {
    this.bounds = bounds;
  }

  /** Takes what came from the server. Returns the replies that are complete with it, for the parser. */
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
