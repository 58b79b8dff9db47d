/** Connects tests to a local Redis. */
import { Redis } from 'ioredis';

/** The options of a connection that tests use; see ioredis. */
interface Options {
  readonly db?: number;
  readonly stringNumbers?: boolean;
  readonly lazyConnect?: boolean;
  readonly retryStrategy?: () => number | null;
}

/**
 * Connects to a Redis on this machine. RESP2, so that replies have the form in which the REST protocol and the
 * region's scripts return them: RESP3 would convert some to maps, doubles and booleans.
 */
export function connectTo(port: number, options: Options = {}): Redis {
  return new Redis(port, '127.0.0.1', { protocol: 2, ...options });
}
