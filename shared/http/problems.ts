/**
 * Every problem that a client can be told (RFC 9457). The name is the stable end of its `type`; `remedy` says what to
 * do about it, and is what `GET /problems/<name>` explains.
 */
export const problemKinds = {
  'invalid-json': {
    status: 400,
    title: 'The body is not acceptable JSON',
    remedy:
      'Send one JSON value in UTF-8, without repeated names in an object, without lone surrogates, and nested no deeper than the limit. Send integers beyond 2^53 and long decimals as strings.',
  },
  'invalid-request': {
    status: 400,
    title: 'The request has the wrong form',
    remedy: 'Compare the request with /openapi.json; `errors` points at what differs.',
  },
  'invalid-command': {
    status: 400,
    title: 'A command is not well formed',
    remedy: 'Give the command the arguments that Redis 7.0 asks for.',
  },
  'unsupported-command': {
    status: 400,
    title: 'A command is not supported',
    remedy:
      'Use commands of strings, keys, hashes, sets, sorted sets and lists whose effect is the same in every region. Reads go to /v1/reads, writes to /v1/writes.',
  },
  'reserved-key': {
    status: 400,
    title: 'A key or channel is reserved',
    remedy:
      'Use keys and channels that do not begin with "lockstep:", and no channels that begin with "__keyspace@" or "__keyevent@".',
  },
  unauthenticated: {
    status: 401,
    title: 'A valid bearer token is needed',
    remedy:
      'Send the header Authorization: Bearer <token>, with a token that LOCKSTEP_TOKENS lists.',
  },
  forbidden: {
    status: 403,
    title: 'The token does not allow this',
    remedy: 'Use a token with the scope that `needs` names.',
  },
  'not-found': {
    status: 404,
    title: 'There is nothing at this address',
    remedy: 'See /openapi.json for the addresses that exist.',
  },
  'key-absent': {
    status: 404,
    title: 'The key does not exist',
    remedy: 'Write the key first, or treat it as absent.',
  },
  'region-unknown': {
    status: 404,
    title: 'The region is not known',
    remedy: 'Use the id of a region that GET /v1/regions lists.',
  },
  'write-unknown': {
    status: 404,
    title: 'The write is not known',
    remedy:
      'It was never received, or was given up at a restart with nothing written, or is older than the kept log. To learn what became of a request, send it again with the same Idempotency-Key.',
  },
  'webhook-unknown': {
    status: 404,
    title: 'The webhook is not known',
    remedy: 'It was deleted, or never created. GET /v1/webhooks lists those that exist.',
  },
  'delivery-unknown': {
    status: 404,
    title: 'The delivery is not known',
    remedy: 'It is older than the kept log, or there was none. GET …/deliveries lists those kept.',
  },
  'method-not-allowed': {
    status: 405,
    title: 'The address does not answer this method',
    remedy: 'Use one of the methods in the header Allow.',
  },
  'too-many-webhooks': {
    status: 409,
    title: 'There are as many webhooks as there can be',
    remedy: 'Delete one that is no longer needed, or change one in place of creating another.',
  },
  'idempotency-key-in-use': {
    status: 409,
    title: 'A request is being carried out under this Idempotency-Key',
    remedy: 'Wait as long as Retry-After says, then send the same request again for its response.',
  },
  'order-refused': {
    status: 409,
    title: 'The order cannot be carried out',
    remedy: 'Nothing was changed. `detail` says what stands against it, and what to do.',
  },
  'changes-expired': {
    status: 410,
    title: 'The changes are no longer kept',
    remedy:
      'Ask GET /v1/changes once without `since`, then read the keys that you follow, then go on from the `next` of that answer.',
  },
  'check-failed': {
    status: 412,
    title: 'A check did not hold',
    remedy: 'Nothing was written. Read the current values and decide again.',
  },
  'precondition-failed': {
    status: 412,
    title: 'The key has changed',
    remedy: 'Nothing was written. Read the key again and use its present ETag.',
  },
  'too-large': {
    status: 413,
    title: 'The request passes a limit',
    remedy: 'Split it, or make the values smaller; `detail` names the limit.',
  },
  'unsupported-media-type': {
    status: 415,
    title: 'The body must be JSON',
    remedy: 'Send the header Content-Type: application/json, and UTF-8.',
  },
  'target-refused': {
    status: 422,
    title: 'The address cannot be called',
    remedy:
      'Give an https:// address of a public host, without a user name or password; `detail` says what stands against it.',
  },
  'command-failed': {
    status: 422,
    title: 'A command failed',
    remedy: 'Nothing was written. `error` is what Redis says to it.',
  },
  'idempotency-key-reused': {
    status: 422,
    title: 'The Idempotency-Key belongs to another request',
    remedy: 'Use a fresh key for a new request, and the same body for a repeated one.',
  },
  'not-after-passed': {
    status: 422,
    title: 'The write came after its notAfter',
    remedy: 'Nothing was written. Send it with a later notAfter, or without one.',
  },
  'unsupported-type': {
    status: 422,
    title: 'The value cannot be handled this way',
    remedy: 'Use POST /v1/reads or POST /v1/writes, which take any supported command and check.',
  },
  'too-many-writes': {
    status: 429,
    title: 'Too many writes are waiting',
    remedy: 'Nothing was written. Wait as long as Retry-After says, then send it again.',
  },
  'too-many-keys': {
    status: 429,
    title: 'Too many Idempotency-Keys are in use',
    remedy: 'Nothing was done. Send it later, or without the key: each key is kept for a day.',
  },
  internal: {
    status: 500,
    title: 'Lockstep has a fault',
    remedy: 'Report it with the request id in `instance`.',
  },
  'webhook-loop': {
    status: 508,
    title: 'A webhook of Lockstep called Lockstep',
    remedy:
      'Nothing was done. Let the receiver make a request of its own, without the headers of the delivery.',
  },
  'storage-full': {
    status: 507,
    title: 'The coordinator has no room for the write',
    remedy:
      'Nothing was written. `detail` says what fills the storage. It empties itself with time; LOCKSTEP_KEPT_BYTES gives it more room, LOCKSTEP_KEPT_MS and LOCKSTEP_KEYS_KEPT_MS let it keep less.',
  },
  'configuration-invalid': {
    status: 503,
    title: 'Lockstep is not configured correctly',
    remedy: 'The operator must correct the variable that `variable` names, and deploy again.',
  },
  'coordinator-unavailable': {
    status: 503,
    title: 'The coordinator did not answer',
    remedy:
      'The outcome of a write is unknown. Send the same request again with the same Idempotency-Key: it is carried out at most once.',
  },
  'courier-unavailable': {
    status: 503,
    title: 'The courier of the webhook did not answer',
    remedy: 'Whether it was carried out is unknown. Look at the webhook, then send it again.',
  },
  'feed-unavailable': {
    status: 503,
    title: 'The change feed did not answer',
    remedy: 'Connect again from the last sequence that you have seen; no change is lost.',
  },
  'key-diverged': {
    status: 503,
    title: 'Regions disagree about a key',
    remedy:
      'Nothing was written, and nothing is written to this key until an operator names the region that is right: POST /v1/admin/repair with the key and `source`.',
  },
  'not-founded': {
    status: 503,
    title: 'The regions held data before Lockstep began, or do not answer',
    remedy:
      'Nothing was written, and nothing was deleted. `regions` says what each region holds. An operator has to say how to begin: POST /v1/admin/found with the region to copy from, or that all hold the same.',
  },
  'not-decided': {
    status: 503,
    title: 'The write was not decided in its time',
    remedy: 'Nothing was written. Send it again, with more time in timeoutMs if need be.',
  },
  'read-contended': {
    status: 503,
    title: 'The keys changed too often to be read together',
    remedy: 'Send it again, name fewer keys, or use the consistency "local".',
  },
  'read-unanswered': {
    status: 504,
    title: 'The read was not answered',
    remedy:
      'It was sent to a region, and a read without a script to one more, and is sent to no other, since it may be what keeps them. Make it smaller, or send it again after a while.',
  },
  'region-unavailable': {
    status: 503,
    title: 'A region does not answer',
    remedy:
      'Nothing was written. `regions` names the regions and what is wrong. Send it again: a region that stays silent is put out after some seconds, and writes go on without it. GET /v1/regions shows how they do.',
  },
  'version-unknown': {
    status: 503,
    title: 'Two releases of Lockstep do not fit together',
    remedy:
      'Nothing was done. During a deployment this passes within seconds: send it again. If it stays, an older release runs than the one that wrote the storage: deploy that one, or a later one.',
  },
  'region-lost': {
    status: 503,
    title: 'The last whole copy has lost writes',
    remedy:
      'Nothing was written. An operator has to say which region is right: GET /v1/admin/regions, then POST /v1/admin/regions/<id>/believe.',
  },
  'regions-full': {
    status: 507,
    title: 'The regions are out of memory',
    remedy:
      'Nothing was written. Delete what is not needed any more: DEL, UNLINK, EXPIRE, LPOP, FLUSHALL and other commands that take no memory go through. Or give the regions that `regions` names more memory (maxmemory, a larger plan).',
  },
  'too-few-voters': {
    status: 503,
    title: 'There are too few regions to write',
    remedy:
      'Nothing was written. Send it again once GET /v1/regions shows more voters; LOCKSTEP_MIN_VOTERS says how many it takes.',
  },
} as const satisfies Readonly<
  Record<string, { readonly status: number; readonly title: string; readonly remedy: string }>
>;

/** The stable name of a kind of problem. */
export type ProblemName = keyof typeof problemKinds;

/** One problem, as a function returns it and as the edge answers it. */
export interface Problem {
  readonly name: ProblemName;
  /** What happened this time, and what to do, for people. */
  readonly detail: string;
  /** Further members of the problem's JSON. */
  readonly members?: Readonly<Record<string, unknown>>;
  /** Further headers, such as Retry-After. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** A value, or the problem that stands in its way. */
export type Result<Value> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly problem: Problem };

/** An attempt that came to `value`. */
export function success<Value>(value: Value): Result<Value> {
  return { ok: true, value };
}

/** An attempt that ended in the problem `name`. */
export function failure(
  name: ProblemName,
  detail: string,
  members?: Readonly<Record<string, unknown>>,
  headers?: Readonly<Record<string, string>>,
): { readonly ok: false; readonly problem: Problem } {
  return {
    ok: false,
    problem: { name, detail, ...(members && { members }), ...(headers && { headers }) },
  };
}

/** The JSON of a problem. `instance` is the id of the request that met it. */
export function problemBody(problem: Problem, instance: string): Readonly<Record<string, unknown>> {
  const { status, title } = problemKinds[problem.name];
  const fixed = {
    type: problemType(problem.name),
    title,
    status,
    detail: problem.detail,
    instance,
  };
  // Twice: first for the order in which people read it, last so that no member can take the place of a fixed one.
  return { ...fixed, ...problem.members, ...fixed };
}

/** The `type` of a problem: an address of the Worker itself, which explains it. */
export function problemType(name: ProblemName): string {
  return `/problems/${name}`;
}

/** True where `text` names a kind of problem. */
export function isProblemName(text: string): text is ProblemName {
  return Object.hasOwn(problemKinds, text);
}
