/** Turns the replies of regions into the JSON that clients get, and strings into their bytes and back. */
import { assert, InvariantViolation } from '../assert.ts';
import { type Bytes, textOfBytes } from '../contracts/bytes.ts';
import { outcomeIn, type RawOutcome } from '../contracts/outcome.ts';
import { decodeReply, isTagged, type RawReply } from '../contracts/reply.ts';

/**
 * A reply of Redis in the form that clients get as JSON. An integer beyond 2^53 is a bigint, so that no digit is lost (a
 * string in JSON); an error inside an array is `{error}`.
 */
export type Reply = null | string | number | bigint | readonly Reply[] | { readonly error: string };

/** The outcome of one write in its transaction. */
export type PartOutcome =
  | { readonly kind: 'done'; readonly results: readonly Reply[] }
  /** Check `index` failed; `actual` is the value that was found, or null if there was none. */
  | { readonly kind: 'check-failed'; readonly index: number; readonly actual: Reply }
  /** Operation `index` failed with the error text. */
  | { readonly kind: 'command-failed'; readonly index: number; readonly error: string };

/** Parses the recorded outcome of a part. Throws InvariantViolation if the text has another form. */
export function parsePartOutcome(text: string): PartOutcome {
  const outcome = rawOutcomeOf(text);
  switch (outcome.kind) {
    case 'done':
      return { kind: outcome.kind, results: outcome.replies.map(presentReply) };
    case 'check-failed':
      return { ...outcome, actual: presentReply(outcome.actual) };
    case 'command-failed':
      return { ...outcome, error: textOfBytes(outcome.error) };
  }
}

/**
 * Decodes the recorded outcome of a part. Release 0.1 recorded it as JSON, which begins with a bracket. Throws
 * InvariantViolation if the text has neither form.
 */
export function rawOutcomeOf(text: string): RawOutcome {
  return outcomeIn(text.startsWith('[') ? replyOfJson(text) : decodeReply(text));
}

/** A reply from the JSON text in which release 0.1 recorded it: `{"s":…}` is a status, `{"e":…}` an error. */
export function replyOfJson(text: string): RawReply {
  return replyOfValue(parseExact(text));
}

/** One reply of a snapshot: the reply, or the error text of a command that failed. */
export type SnapshotReply =
  | {
      readonly ok: true;
      readonly reply: Reply /** The reply as the region sent it. */;
      readonly raw: RawReply;
    }
  | { readonly ok: false; readonly error: string };

/** Parses the `count` replies of a snapshot; null if the text has another form. */
export function parseSnapshotReplies(text: Bytes, count: number): readonly SnapshotReply[] | null {
  try {
    const replies = decodeReply(text);
    if (!Array.isArray(replies) || replies.length !== count) return null;
    return replies.map(snapshotReplyOf);
  } catch (error) {
    if (error instanceof InvariantViolation) return null;
    throw error;
  }
}

/** The reply of one command of a snapshot, in the form that the edge uses. */
export function snapshotReplyOf(raw: RawReply): SnapshotReply {
  if (isTagged(raw) && 'error' in raw) return { ok: false, error: textOfBytes(raw.error) };
  return { ok: true, reply: presentReply(raw), raw };
}

/**
 * The JSON text of plain data. An integer beyond 2^53 becomes a string of its digits, because most clients would round a
 * number. Undefined members are omitted.
 */
export function jsonText(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    // JSON.stringify refuses the few values that hold such an integer.
    return exactJsonText(value);
  }
}

function exactJsonText(value: unknown): string {
  if (typeof value === 'bigint') return `"${value}"`;
  if (Array.isArray(value))
    return `[${value.map((item) => exactJsonText(item ?? null)).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${exactJsonText(member)}`).join(',')}}`;
}

/** Converts a region's reply to the form that clients get. */
export function presentReply(raw: RawReply): Reply {
  if (raw === null || typeof raw === 'number' || typeof raw === 'bigint') return raw;
  if (typeof raw === 'string') return textOfBytes(raw);
  if (!isTagged(raw)) return raw.map(presentReply);
  return 'status' in raw ? textOfBytes(raw.status) : { error: textOfBytes(raw.error) };
}

function replyOfValue(value: unknown): RawReply {
  if (value === null || typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'bigint') return value;
  if (Array.isArray(value)) return value.map(replyOfValue);
  assert(typeof value === 'object', 'a reply is null, a number, a string, an array or tagged');
  if ('s' in value && typeof value.s === 'string') return { status: value.s };
  assert('e' in value && typeof value.e === 'string', 'a tagged reply is a status or an error');
  return { error: value.e };
}

/** JSON.parse that keeps integers beyond 2^53 exact, as bigints. The slow path runs only if the text may contain one. */
export function parseExact(text: string): unknown {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  return JSON.parse(text, (_name, value: unknown, context?: { readonly source?: string }) => {
    const source = context?.source;
    const isUnsafe = typeof value === 'number' && !Number.isSafeInteger(value);
    return isUnsafe && source !== undefined && /^-?\d+$/.test(source) ? BigInt(source) : value;
  });
}
