import type { WriteRequest } from '../../shared/contracts/coordinator.ts';

/** A write of these operations, as the edge sends it. */
export function requestOf(id: string, ...ops: WriteRequest['ops']): WriteRequest {
  return {
    id,
    ops,
    checks: [],
    continueOnError: false,
    ack: 'committed',
    timeoutMs: 1_000,
    priority: 0,
    idempotency: null,
    notAfter: null,
    callback: null,
    again: false,
  };
}
