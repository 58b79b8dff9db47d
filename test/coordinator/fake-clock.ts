import { test, vi } from 'vitest';

/**
 * Tests whose clock and timers stand still until they advance them (`vi.advanceTimersByTimeAsync`). Errors that the code
 * logs are dropped, since these tests let calls fail.
 */
export const it = test.extend('clock', { auto: true }, ({ onTestFinished }) => {
  vi.useFakeTimers();
  vi.spyOn(console, 'error').mockImplementation(() => {});
  onTestFinished(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });
});
