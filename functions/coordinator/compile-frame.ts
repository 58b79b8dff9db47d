/** Compiles requests to write frames, the input of the core. */
import { compileWrite } from '../../shared/commands/compile.ts';
import type { ScriptLookup } from '../../shared/commands/user-scripts.ts';
import type { WriteAnswer, WriteRequest } from '../../shared/contracts/coordinator.ts';
import type { WriteFrame } from '../../shared/contracts/frame.ts';
import { keyOfWrite } from '../../shared/reserved-keys.ts';

/**
 * Returns an extra lock key per pipelined write: a script may touch undeclared keys, so all writes from the first
 * script on share one lock and keep their order. Null for the writes before it.
 */
export function orderLocks(requests: readonly WriteRequest[]): readonly (string | null)[] {
  const first = requests.findIndex(({ ops }) => ops.some(isScript));
  const id = requests[first]?.id;
  return requests.map((_, at) => (id === undefined || at < first ? null : keyOfWrite(id)));
}

function isScript([name = '']: readonly string[]): boolean {
  return /^EVAL/i.test(name);
}

/** The fields of a request that find the answer to an earlier one. */
export type Repeatable = Pick<
  WriteRequest,
  'id' | 'idempotency' | 'ack' | 'timeoutMs' | 'notAfter' | 'again'
>;

/** The frame of a repeated request. It gets the first answer and is never executed, so nothing is compiled. */
export function repeatedFrameOf(request: Repeatable, now: number): WriteFrame {
  const { id, idempotency, ack } = request;
  return {
    id,
    idempotency,
    ack,
    notAfter: notAfterOf(request, now),
    operations: [],
    checks: [],
    continueOnError: false,
    keys: [],
    priority: 0,
    callback: null,
    bytes: 0,
  };
}

function notAfterOf({ timeoutMs, notAfter }: Repeatable, now: number): number {
  return Math.min(now + timeoutMs, notAfter ?? Number.POSITIVE_INFINITY);
}

/**
 * The write frame of a request, or the answer that refuses it. `lock` is locked besides its keys.
 *
 * The edge has checked the same commands, but its compilation is not taken over: expiries need this coordinator's
 * clock, random draws its seeds and EVALSHA its texts, and during a deployment the edge may be of another release,
 * with other rules and limits. Only the shape is trusted, which the edge has parsed: texts, checks and options of the
 * right types.
 */
export function frameOf(
  request: WriteRequest,
  now: number,
  scripts: ScriptLookup,
  lock: string | null = null,
): WriteFrame | WriteAnswer {
  const { id, ops, checks, continueOnError, ack, priority, idempotency, callback } = request;
  const compiled = compileWrite(ops, checks, { now, seed, scripts, continueOnError });
  if (!compiled.ok) {
    const { problem, detail, redis } = compiled;
    return { kind: 'refused', problem, detail, ...(redis && { error: redis.error }) };
  }
  const { operations, bytes } = compiled;
  const keys = lock === null ? compiled.keys : [...compiled.keys, lock];
  const notAfter = notAfterOf(request, now);
  const given = { id, checks, continueOnError, priority, ack, idempotency, callback };
  const locked = keys.length === 0 ? [keyOfWrite(id)] : keys;
  return { ...given, operations, keys: locked, notAfter, bytes };
}

function seed(): number {
  const [bits = 0] = crypto.getRandomValues(new Uint32Array(1));
  return bits >>> 1;
}
