/**
 * Settles as `promise` does, or rejects after `ms`: another object may be stuck, and a caller that waits for it forever
 * would be stuck too. The work behind `promise` continues, and its result is ignored.
 */
export async function withTimeout<Value>(promise: Promise<Value>, ms: number): Promise<Value> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer within ${ms} ms`)), ms);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
