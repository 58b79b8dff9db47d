/** Translates commands with expiries for a Redis whose clock the test cannot stop. */
import { normalizeClientReply, type OracleReply } from './redis-oracle.ts';

/**
 * The difference between the oracle's times and those of the transactions, in ms. It is large enough that no expiry
 * passes on the oracle's clock during a comparison; expired keys are deleted from the oracle explicitly.
 */
export const oracleLaterMs = 365 * 86_400_000;

/** A command for the oracle, and the conversion of its reply to the original command's. */
export interface Translated {
  readonly words: readonly string[];
  readonly replyOf: (reply: unknown) => OracleReply;
}

const lifetimes: Readonly<Record<string, number>> = { EX: 1_000, PX: 1 };
const moments: Readonly<Record<string, number>> = { EXAT: 1_000, PXAT: 1 };
const expires: Readonly<Record<string, readonly [unitMs: number, isLifetime: boolean]>> = {
  EXPIRE: [1_000, true],
  PEXPIRE: [1, true],
  EXPIREAT: [1_000, false],
  PEXPIREAT: [1, false],
};

/**
 * The command with each expiry as a fixed time of the oracle, counted from `now`, ms: a plain Redis 7.0 counts
 * lifetimes from a clock that advances within MULTI, so that the oracle would differ from itself.
 */
export function translated(words: readonly string[], now: number): Translated {
  const [name = '', key = '', ...rest] = words;
  const at = (moment: number) => (moment <= now ? '1' : String(moment + oracleLaterMs));
  const replyOf = normalizeClientReply;
  const expire = expires[name];
  if (expire !== undefined) {
    const [unitMs, isLifetime] = expire;
    const moment = Number(rest[0]) * unitMs + (isLifetime ? now : 0);
    return { words: ['PEXPIREAT', key, at(moment), ...rest.slice(1)], replyOf };
  }
  if (name === 'SETEX' || name === 'PSETEX') {
    const moment = now + Number(rest[0]) * (name === 'SETEX' ? 1_000 : 1);
    return { words: ['SET', key, rest[1] ?? '', 'PXAT', at(moment)], replyOf };
  }
  if (/^P?(?:TTL|EXPIRETIME)$/.test(name)) {
    return { words: ['PEXPIRETIME', key], replyOf: (reply) => replyOfExpiry(name, reply, now) };
  }
  const option = words.at(-2) ?? '';
  const unitMs = lifetimes[option] ?? moments[option];
  if (!['SET', 'GETEX'].includes(name) || unitMs === undefined) return { words, replyOf };
  const moment = Number(words.at(-1)) * unitMs + (option in lifetimes ? now : 0);
  return { words: [...words.slice(0, -2), 'PXAT', at(moment)], replyOf };
}

function replyOfExpiry(name: string, reply: unknown, now: number): OracleReply {
  const expiry = Number(reply);
  if (expiry < 0) return BigInt(expiry);
  const moment = expiry - oracleLaterMs - (name.endsWith('TTL') ? now : 0);
  return BigInt(name.startsWith('P') ? moment : Math.floor((moment + 500) / 1_000));
}
