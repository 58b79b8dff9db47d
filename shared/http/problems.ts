/**
 * Every problem that clients can get (RFC 9457). The name is the stable end of its `type`. `title` says when it occurs,
 * and `remedy` how to proceed; `GET /problems/<name>` returns both.
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
    remedy: 'Compare the request with /openapi.json; `errors` lists the differences.',
  },
  'invalid-command': {
    status: 400,
    title: 'A command is not well formed',
    remedy: 'Give the command the arguments that Redis 7.0 expects.',
  },
  'unsupported-command': {
    status: 400,
    title: 'A command is not supported',
    remedy:
      'Use a supported command of strings, keys, hashes, sets, sorted sets or lists, with the same effect in every region. Send reads to /v1/reads and writes to /v1/writes.',
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
    title: 'There is no resource at this URL',
    remedy: 'See /openapi.json for the available URLs.',
  },
  'key-absent': {
    status: 404,
    title: 'The key does not exist',
    remedy: 'Write the key first, or treat it as absent.',
  },
  'region-unknown': {
    status: 404,
    title: 'The region is unknown',
    remedy: 'Use the id of a region that GET /v1/regions lists.',
  },
  'write-unknown': {
    status: 404,
    title: 'The write is unknown',
    remedy:
      'The write was never received, was abandoned at a restart with nothing written, or is older than the log. To get the outcome of a request, retry it with the same Idempotency-Key.',
  },
  'webhook-unknown': {
    status: 404,
    title: 'The webhook is unknown',
    remedy: 'It was deleted or never created. GET /v1/webhooks lists the existing webhooks.',
  },
  'delivery-unknown': {
    status: 404,
    title: 'The delivery is unknown',
    remedy:
      'It is older than the log, or never existed. GET …/deliveries lists the available deliveries.',
  },
  'method-not-allowed': {
    status: 405,
    title: 'The URL does not support this method',
    remedy: 'Use one of the methods in the header Allow.',
  },
  'too-many-webhooks': {
    status: 409,
    title: 'There are too many webhooks',
    remedy: 'Delete a webhook that is no longer needed, or change an existing one.',
  },
  'idempotency-key-in-use': {
    status: 409,
    title: 'A request with this Idempotency-Key is in progress',
    remedy: 'Wait for the time in Retry-After, then retry the same request to get its response.',
  },
  'order-refused': {
    status: 409,
    title: 'The command cannot be executed',
    remedy: 'Nothing was changed. `detail` gives the reason and the remedy.',
  },
  'changes-expired': {
    status: 410,
    title: 'The changes are no longer in the log',
    remedy:
      'Call GET /v1/changes once without `since`, then read the keys that you follow, then continue from the `next` of that response.',
  },
  'check-failed': {
    status: 412,
    title: 'A check did not hold',
    remedy: 'Nothing was written. Read the current values, then retry with new checks.',
  },
  'precondition-failed': {
    status: 412,
    title: 'The key has changed',
    remedy: 'Nothing was written. Read the key again and use its current ETag.',
  },
  'too-large': {
    status: 413,
    title: 'The request exceeds a limit',
    remedy: 'Split it, or make the values smaller; `detail` names the limit.',
  },
  'unsupported-media-type': {
    status: 415,
    title: 'The body must be JSON',
    remedy: 'Send the header Content-Type: application/json, and UTF-8.',
  },
  'several-shards': {
    status: 422,
    title: 'The keys belong to several shards',
    remedy:
      'Nothing was done. Give keys that are used together the same hash tag, or use them in requests of their own.',
  },
  'target-refused': {
    status: 422,
    title: 'The webhook URL is not allowed',
    remedy:
      'Use an https:// URL of a public host, without a user name or password; `detail` gives the reason.',
  },
  'command-failed': {
    status: 422,
    title: 'A command failed',
    remedy: 'Nothing was written. `error` is the Redis error.',
  },
  'idempotency-key-reused': {
    status: 422,
    title: 'The Idempotency-Key belongs to another request',
    remedy: 'Use a new key for a new request, and the same body for a retry.',
  },
  'not-after-passed': {
    status: 422,
    title: 'The write arrived after its notAfter',
    remedy: 'Nothing was written. Retry with a later notAfter, or without one.',
  },
  'unsupported-type': {
    status: 422,
    title: 'The type of the value is not supported here',
    remedy: 'Use POST /v1/reads or POST /v1/writes, which take any supported command and check.',
  },
  'too-many-writes': {
    status: 429,
    title: 'Too many writes are waiting',
    remedy: 'Nothing was written. Wait for the time in Retry-After, then retry.',
  },
  'too-many-keys': {
    status: 429,
    title: 'Too many Idempotency-Keys are in use',
    remedy: 'Nothing was done. Retry later, or without the key: each key is kept for a day.',
  },
  internal: {
    status: 500,
    title: 'Internal error in Lockstep',
    remedy: 'Report it with the request id in `instance`.',
  },
  'webhook-loop': {
    status: 508,
    title: 'A Lockstep webhook called Lockstep',
    remedy:
      'Nothing was done. The receiver must send its own request, without the headers of the delivery.',
  },
  'storage-full': {
    status: 507,
    title: 'The coordinator has no room for the write',
    remedy:
      'Nothing was written. `detail` names the cause. Room becomes free as entries expire. LOCKSTEP_KEPT_BYTES raises the bound; LOCKSTEP_KEPT_MS and LOCKSTEP_KEYS_KEPT_MS shorten the time for which entries are kept.',
  },
  'configuration-invalid': {
    status: 503,
    title: 'Lockstep is not configured correctly',
    remedy: 'The operator must correct the variable named in `variable` and deploy again.',
  },
  'coordinator-unavailable': {
    status: 503,
    title: 'The coordinator did not answer',
    remedy:
      'The outcome of a write is unknown. Retry the request with the same Idempotency-Key: it is executed at most once.',
  },
  'courier-unavailable': {
    status: 503,
    title: 'The courier of the webhook did not answer',
    remedy: 'The outcome is unknown. Check the webhook, then retry.',
  },
  'feed-unavailable': {
    status: 503,
    title: 'The change feed did not answer',
    remedy: 'Reconnect with the last sequence that you received; no change is lost.',
  },
  'key-diverged': {
    status: 503,
    title: 'Regions disagree about a key',
    remedy:
      'Nothing was written, and this key accepts no writes until an operator names the correct region: POST /v1/admin/repair with the key and `source`.',
  },
  'not-founded': {
    status: 503,
    title: 'The regions held data before Lockstep started, or do not answer',
    remedy:
      'Nothing was written, and nothing was deleted. `regions` has the key count of each region. An operator must choose how to start: POST /v1/admin/found with the region to copy from, or with `agree` if all hold the same data.',
  },
  'not-decided': {
    status: 503,
    title: 'The write was not decided in time',
    remedy: 'Nothing was written. Retry, with a greater timeoutMs if needed.',
  },
  'read-contended': {
    status: 503,
    title: 'The keys changed too often to be read together',
    remedy: 'Retry, name fewer keys, or use the consistency "local".',
  },
  'read-unanswered': {
    status: 504,
    title: 'The read was not answered',
    remedy:
      'No further region was tried, since the read itself may be the cause: a read is sent to at most two regions, a script to one. Make it smaller, or retry later.',
  },
  'region-unavailable': {
    status: 503,
    title: 'A region does not answer',
    remedy:
      'Nothing was written. `regions` lists the regions and the reasons. Retry: a region that stays silent is evicted after some seconds, and writes continue without it. GET /v1/regions shows the health of each region.',
  },
  'version-unknown': {
    status: 503,
    title: 'Two releases of Lockstep are incompatible',
    remedy:
      'Nothing was done. During a deployment this resolves within seconds: retry. If it persists, the running release is older than the one that wrote the storage: deploy that release or a later one.',
  },
  'region-lost': {
    status: 503,
    title: 'The last complete copy has lost writes',
    remedy:
      'Nothing was written. An operator must choose the correct region: GET /v1/admin/regions, then POST /v1/admin/regions/<id>/force-recover.',
  },
  'regions-full': {
    status: 507,
    title: 'The regions are out of memory',
    remedy:
      'Nothing was written. Delete data: DEL, UNLINK, EXPIRE, LPOP, FLUSHALL and other commands that take no memory still work. Or give the regions named in `regions` more memory (maxmemory, a larger plan).',
  },
  'too-few-voters': {
    status: 503,
    title: 'There are too few regions to write',
    remedy:
      'Nothing was written. Retry once GET /v1/regions shows more voters; LOCKSTEP_MIN_VOTERS sets the minimum.',
  },
} as const satisfies Readonly<
  Record<string, { readonly status: number; readonly title: string; readonly remedy: string }>
>;

/** The stable name of a problem type. */
export type ProblemName = keyof typeof problemKinds;

/** A problem of one request. */
export interface Problem {
  readonly name: ProblemName;
  /** The cause in this request, and the remedy. */
  readonly detail: string;
  /** Further members of the problem's JSON. */
  readonly members?: Readonly<Record<string, unknown>>;
  /** Further headers, such as Retry-After. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** A value, or the problem that prevented it. */
export type Result<Value> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly problem: Problem };

/** The result of a call that succeeded. */
export function success<Value>(value: Value): Result<Value> {
  return { ok: true, value };
}

/** The result of a call that failed with the problem `name`. */
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

/** The JSON of a problem. `instance` is the id of the request. */
export function problemBody(problem: Problem, instance: string): Readonly<Record<string, unknown>> {
  const { status, title } = problemKinds[problem.name];
  const fixed = {
    type: problemType(problem.name),
    title,
    status,
    detail: problem.detail,
    instance,
  };
  // Fixed members are first for readers, and repeated at the end so that no other member can replace them.
  return { ...fixed, ...problem.members, ...fixed };
}

/** The `type` of a problem: a path of the Worker that explains it. */
export function problemType(name: ProblemName): string {
  return `/problems/${name}`;
}

/** True if `text` is the name of a problem type. */
export function isProblemName(text: string): text is ProblemName {
  return Object.hasOwn(problemKinds, text);
}
