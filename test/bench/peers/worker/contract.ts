/** The messages between the clients of the benchmark and its bare Worker. */

/** An operation on one key. Values are ASCII. */
export type PeerOperation =
  | { readonly kind: 'read'; readonly key: string }
  | { readonly kind: 'set'; readonly key: string; readonly value: string }
  /** Reads the value, and replaces it unless it has changed meanwhile. */
  | { readonly kind: 'modify'; readonly key: string; readonly value: string }
  | { readonly kind: 'increment'; readonly key: string }
  /** Counts one request in a fixed window. */
  | { readonly kind: 'limit'; readonly key: string };

/** An operation that changes something. */
export type PeerWrite = Exclude<PeerOperation, { readonly kind: 'read' }>;

/** The outcome of an operation that was carried out. */
export interface PeerAnswer {
  readonly result: unknown;
  /** The attempts before it that had to be repeated. */
  readonly aborts: number;
}

/** The address of a server of the Upstash REST protocol. */
export interface PeerServer {
  readonly url: string;
  readonly token: string;
}

/** The servers that the bare Worker calls. */
export interface PeerServers {
  /** One per region, the nearest first. */
  readonly regions: readonly PeerServer[];
  /** The primary with replicas, by the bridge that adds WAIT; null if it is not measured. */
  readonly primary: string | null;
  /** The nearest member of etcd; null if it is not measured. */
  readonly etcd: string | null;
}

/** The window of the rate limiter, ms. */
export const limiterWindowMs = 60_000;

/** Counts one request: the fixed window as rate limiters for Redis have it. KEYS: the counter. ARGV: the window, ms. */
export const limiterScript = `local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return count`;

/** An attempt that lost against another one is repeated up to this many times. */
export const attemptsMaximum = 1_000;
