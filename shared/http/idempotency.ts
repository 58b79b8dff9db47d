/** Idempotency keys as the coordinator keeps them, and what of a request makes it the same as another. */

/**
 * The key as it is kept: it belongs to the token's id, so that no client gets the answer of another, and a rotation of the
 * secret loses none. `place` is that of a command in its pipeline, where each has a key of its own.
 */
export function keptKeyOf(token: string, key: string, place: number | null): string {
  return `${token}:${place ?? ''}:${key}`;
}

/** The same as release 0.1 kept it, which belongs to no token. */
export function plainKeyOf(kept: string): string {
  const [, place = '', ...key] = kept.split(':');
  const plain = key.join(':');
  return place === '' ? plain : `${plain}/${place}`;
}

/**
 * What a body of `POST /v1/writes` asks for: as it was sent, without the bounds and defaults of a release, which may be
 * others when it is sent again. Numbers count as their texts. A callback's secret is left out, since a repetition may come
 * with a rotated one, and so is all that says how long and how urgently the write is tried.
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

/** What a `PUT` or `DELETE` of a key asks for, under the conditions of its headers. `body` is null for a `DELETE`. */
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

/** Equal for values that say the same: members in one order, and numbers as texts. */
function canonical(value: unknown): unknown {
  if (typeof value === 'number') return String(value);
  if (Array.isArray(value)) return value.map(canonical);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([name, member]) => [name, canonical(member)] as const);
  return entries.sort(([a], [b]) => (a < b ? -1 : 1));
}
