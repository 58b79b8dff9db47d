/** Idempotency keys of writes: reads them from requests, and finds the responses that are kept under them (R46). */
import type {
  PlacedAnswer,
  WriteAnswer,
  WriteRequest,
} from '../../../shared/contracts/coordinator.ts';
import { keptKeyOf } from '../../../shared/http/idempotency.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import { writeIdOf } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import type { EdgeDependencies } from './dependencies.ts';
import type { EdgeContext } from './respond.ts';
import { callEach, keeperOf } from './shards.ts';

/** The Idempotency-Key of a request, with the client that sent it and a digest of the request. */
export interface ClientKey {
  /** The id of the client's token. */
  readonly token: string;
  readonly key: string;
  readonly digest: string;
}

/** The Idempotency-Key of a request, or null without one. A malformed key is the problem `invalid-request`. */
export function idempotencyKeyOf(context: EdgeContext): Result<string | null> {
  const key = context.req.header('idempotency-key');
  if (key === undefined) return success(null);
  if (/^[\x20-\x7e]+$/.test(key) && key.length <= limits.idempotencyKeyBytes) return success(key);
  const detail = `An Idempotency-Key has 1 to ${limits.idempotencyKeyBytes} printable ASCII characters.`;
  return failure('invalid-request', detail);
}

/**
 * As {@link idempotencyKeyOf}, with the id of the caller's token and a digest of the meaning of the request, which
 * `askedOf` returns.
 */
export async function clientKeyOf(
  context: EdgeContext,
  askedOf: () => unknown,
): Promise<Result<ClientKey | null>> {
  const brought = idempotencyKeyOf(context);
  if (!brought.ok) return brought;
  if (brought.value === null) return success(null);
  const key = brought.value;
  const bytes = new TextEncoder().encode(JSON.stringify(askedOf()));
  const sha256 = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  const digest = Array.from(sha256, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return success({ token: context.get('caller').id, key, digest });
}

/**
 * The key as the coordinator stores it. `position` is that of a command in its pipeline, or null for a single write.
 */
export function keptUnder(
  key: ClientKey | null,
  position: number | null,
): WriteRequest['idempotency'] {
  if (key === null) return null;
  return { key: keptKeyOf(key.token, key.key, position), digest: key.digest };
}

/**
 * Finds the first responses to writes that this release would refuse: a write that was executed once gets the same
 * response while its key is kept, even if the rules have changed since. Null for a key without a response. The keys of
 * such a write are unknown, so every shard is asked.
 */
export async function recall(
  dependencies: EdgeDependencies,
  key: ClientKey,
  positions: readonly (number | null)[],
  ack: WriteRequest['ack'] = 'committed',
): Promise<Result<readonly (PlacedAnswer | null)[]>> {
  const requests = positions.map((position) => ({
    id: writeIdOf(keeperOf(dependencies), dependencies.uuid()),
    ack,
    timeoutMs: limits.timeoutMsDefault,
    notAfter: null,
    again: false as const,
    idempotency: { key: keptKeyOf(key.token, key.key, position), digest: key.digest },
  }));
  const recalled = await callEach(dependencies, 'recall', requests);
  if (!recalled.ok) return recalled;
  return success(requests.map((_, at) => firstOf(recalled.value.map((answers) => answers[at]))));
}

/** The answer of the shard that has one. A shard that does not own the keys has none. */
function firstOf(answers: readonly (WriteAnswer | null | undefined)[]): PlacedAnswer | null {
  for (const answer of answers) if (answer && answer.kind !== 'moved') return answer;
  return null;
}

/** The header `Idempotency-Kept-Until`: every one of the answers is kept until then. Empty if none is kept. */
export function keptHeaders(answers: readonly PlacedAnswer[]): Readonly<Record<string, string>> {
  const moments = answers.flatMap((answer) =>
    'record' in answer && answer.record.keptUntil !== undefined ? [answer.record.keptUntil] : [],
  );
  if (moments.length === 0) return {};
  return { 'Idempotency-Kept-Until': new Date(Math.min(...moments)).toISOString() };
}
