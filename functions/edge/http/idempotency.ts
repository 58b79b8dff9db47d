import type { WriteAnswer, WriteRequest } from '../../../shared/contracts/coordinator.ts';
import { keptKeyOf } from '../../../shared/http/idempotency.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import { writeIdOf } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import { askCoordinator } from './coordinator-calls.ts';
import { type EdgeDependencies, onlyShard } from './dependencies.ts';
import type { EdgeContext } from './respond.ts';

/** The Idempotency-Key that came with a request: whose it is, and a digest of what the request asks for. */
export interface ClientKey {
  /** The id of the client's token. */
  readonly token: string;
  readonly key: string;
  readonly digest: string;
}

/** The Idempotency-Key that a request brings, or null where it brings none. */
export function idempotencyKeyOf(context: EdgeContext): Result<string | null> {
  const key = context.req.header('idempotency-key');
  if (key === undefined) return success(null);
  if (/^[\x20-\x7e]+$/.test(key) && key.length <= limits.idempotencyKeyBytes) return success(key);
  const detail = `An Idempotency-Key has 1 to ${limits.idempotencyKeyBytes} printable ASCII characters.`;
  return failure('invalid-request', detail);
}

/** The key of a request that asks for `asked`, or null where it brings none. */
export async function clientKeyOf(
  context: EdgeContext,
  asked: unknown,
): Promise<Result<ClientKey | null>> {
  const brought = idempotencyKeyOf(context);
  if (!brought.ok) return brought;
  if (brought.value === null) return success(null);
  const key = brought.value;
  const bytes = new TextEncoder().encode(JSON.stringify(asked));
  const sha256 = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  const digest = Array.from(sha256, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return success({ token: context.get('caller').id, key, digest });
}

/** The key as the coordinator keeps it. `place` is that of a command in its pipeline, null for a request of one write. */
export function keptUnder(
  key: ClientKey | null,
  place: number | null,
): WriteRequest['idempotency'] {
  if (key === null) return null;
  return { key: keptKeyOf(key.token, key.key, place), digest: key.digest };
}

/**
 * The first answers to writes that this release would refuse before it sends them, by their keys: what was carried out
 * once is answered so for as long as its key is kept, whatever has changed since. Null where there is none.
 */
export async function recall(
  dependencies: EdgeDependencies,
  key: ClientKey,
  places: readonly (number | null)[],
  ack: WriteRequest['ack'] = 'committed',
): Promise<Result<readonly (WriteAnswer | null)[]>> {
  const requests = places.map((place) => ({
    id: writeIdOf(onlyShard, dependencies.uuid()),
    ack,
    timeoutMs: limits.timeoutMsDefault,
    notAfter: null,
    again: false as const,
    idempotency: { key: keptKeyOf(key.token, key.key, place), digest: key.digest },
  }));
  return askCoordinator(dependencies, onlyShard, (coordinator) => coordinator.recall(requests));
}

/** Until when the answer is kept under its key at least, as the headers of a response; none where it has no key. */
export function keptHeaders(answers: readonly WriteAnswer[]): Readonly<Record<string, string>> {
  const moments = answers.flatMap((answer) =>
    'record' in answer && answer.record.keptUntil !== undefined ? [answer.record.keptUntil] : [],
  );
  if (moments.length === 0) return {};
  return { 'Idempotency-Kept-Until': new Date(Math.min(...moments)).toISOString() };
}
