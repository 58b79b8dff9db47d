/** Idempotency keys: the form in which they are stored, and the parts of a request that a retry must repeat. */

/**
 * The stored key. It contains the id of the token, so that no client gets another's response, and a rotated secret
 * keeps its keys. `position` is that of a command in a pipeline, whose commands have separate keys.
 */
export function keptKeyOf(token: string, key: string, position: number | null): string {
  return `${token}:${position ?? ''}:${key}`;
}

/** The same key in the form of release 0.1, which did not contain the token. */
export function plainKeyOf(kept: string): string {
  const [, position = '', ...key] = kept.split(':');
  const plain = key.join(':');
  return position === '' ? plain : `${plain}/${position}`;
}

/**
 * The parts of a `POST /v1/writes` body that a retry must repeat, as they were sent: defaults may differ between
 * releases. Numbers count as their texts. Omits the callback's secret, which may be rotated before a retry, and the
 * members that only say for how long and how urgently to try.
 */
export function askedByWrite(body: unknown): unknown {
  const { ops, checks, callback } = membersOf(body);
  const { secret: _, ...called } = membersOf(callback);
  return [
    canonical(ops),
    canonical(checks ?? []),
    ...(callback === undefined ? [] : [canonical(called)]),
  ];
}

/**
 * The parts of a `PUT` or `DELETE` of a key that a retry must repeat, with the conditions of its headers. `body` is
 * null for a `DELETE`.
 */
export function askedOfKey(
  key: string,
  body: unknown,
  conditions: readonly (string | null)[],
): unknown {
  if (body === null) return ['DELETE', ['DEL', key], conditions];
  const { value, expiresInMs } = membersOf(body);
  const expiry = expiresInMs === undefined ? [] : ['PX', canonical(expiresInMs)];
  return ['PUT', ['SET', key, canonical(value), ...expiry], conditions];
}

function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  const isRecord = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isRecord ? Object.fromEntries(Object.entries(value)) : {};
}

/** Equal for equivalent values: sorts members, and turns numbers into texts. */
function canonical(value: unknown): unknown {
  if (typeof value === 'number') return String(value);
  if (Array.isArray(value)) return value.map(canonical);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([name, member]) => [name, canonical(member)] as const);
  return entries.sort(([a], [b]) => (a < b ? -1 : 1));
}
