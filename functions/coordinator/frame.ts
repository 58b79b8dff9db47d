import type { WriteFrame } from '../../shared/protocol/frame.ts';
import { keyOfWrite } from '../../shared/protocol/own-keys.ts';
import type { WriteAnswer, WriteRequest } from '../../shared/wire/answers.ts';
import { compileWrite } from '../../shared/wire/commands.ts';

/** The write frame of a request, or the answer that refuses it. */
export function frameOf(request: WriteRequest, now: number): WriteFrame | WriteAnswer {
  const { id, ops, checks, keepsGoing, ack, timeoutMs, priority, idempotency, callback } = request;
  const compiled = compileWrite(ops, checks, { now, seed });
  if (!compiled.ok) return { kind: 'refused', problem: compiled.problem, detail: compiled.detail };
  const { operations, bytes } = compiled;
  const keys = compiled.keys.length === 0 ? [keyOfWrite(id)] : compiled.keys;
  const notAfter = Math.min(now + timeoutMs, request.notAfter ?? Number.POSITIVE_INFINITY);
  const given = { id, checks, keepsGoing, priority, ack, idempotency, callback };
  return { ...given, operations, keys, notAfter, bytes };
}

function seed(): number {
  const [bits = 0] = crypto.getRandomValues(new Uint32Array(1));
  return bits >>> 1;
}
