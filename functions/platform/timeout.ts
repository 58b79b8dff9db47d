/**
 * What `promise` brings, or a rejection once `ms` have passed: another object may be stuck, and whoever waits for it
 * without end would be stuck too. What was asked for goes on, and its answer is ignored.
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
