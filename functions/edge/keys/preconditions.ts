/** The conditions of PUT and DELETE of a key: turns If-Match and If-None-Match into checks of a write. */
import { bytesOfText } from '../../../shared/contracts/bytes.ts';
import type { Check } from '../../../shared/contracts/frame.ts';
import { failure, type Problem, type Result, success } from '../../../shared/http/problems.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import type { EdgeContext } from '../http/respond.ts';
import { type RegionReader, readTargetOf } from '../reads/region-reader.ts';
import { etagOf, parseTags } from './etags.ts';
import { type FoundValue, readValue } from './values.ts';

/** If-Match and If-None-Match as sent; null for a missing header. */
export function conditionsOf(context: EdgeContext): readonly (string | null)[] {
  return [context.req.header('if-match') ?? null, context.req.header('if-none-match') ?? null];
}

/**
 * Turns the conditions of a PUT or DELETE into checks. An ETag is compared with the current value, and the write then
 * checks for exactly that value: a change in between fails the check, which is answered by 412 as well.
 */
export async function readPreconditions(
  context: EdgeContext,
  dependencies: EdgeDependencies,
  reader: RegionReader,
  key: string,
): Promise<Result<readonly Check[]>> {
  const [match = null, noneMatch = null] = conditionsOf(context);
  if (noneMatch !== null && (noneMatch.trim() !== '*' || match !== null)) {
    const detail =
      'A write takes If-None-Match: * (the key must be absent) or If-Match, not both. Remove one.';
    return failure('invalid-request', detail);
  }
  if (noneMatch !== null) return success([{ kind: 'absent', key }]);
  if (match === null) return success([]);
  const tags = parseTags(match);
  if (tags === null) {
    const detail = 'If-Match takes * or ETags in double quotes, separated by commas.';
    return failure('invalid-request', detail);
  }
  if (tags === 'any') return success([{ kind: 'exists', key }]);
  const target = readTargetOf(context, dependencies, { consistency: 'strong' });
  const read = await readValue(reader, key, target);
  if (!read.ok) return read;
  const isRepeatable = context.req.header('idempotency-key') !== undefined;
  return checksFor(key, tags, read.value.found, isRepeatable);
}

/** Replaces `check-failed` by `precondition-failed`: the client sent a header and knows nothing of checks. */
export function mapToPrecondition(problem: Problem): Problem {
  if (problem.name !== 'check-failed') return problem;
  const { id, replayed } = problem.members ?? {};
  const detail = 'The key does not satisfy If-Match or If-None-Match. Nothing was written.';
  return { name: 'precondition-failed', detail, members: { id, replayed } };
}

async function checksFor(
  key: string,
  tags: readonly string[],
  found: FoundValue | null,
  isRepeatable: boolean,
): Promise<Result<readonly Check[]>> {
  const etag = found === null ? null : await etagOf(found.type, found.raw);
  if (found === null || etag === null || !tags.includes(etag)) {
    // The key may have changed by this request's first attempt, and only the coordinator knows. So it gets checks that
    // contradict each other: it returns the response that is kept under the idempotency key, or that a check failed.
    if (isRepeatable)
      return success([
        { kind: 'absent', key },
        { kind: 'exists', key },
      ]);
    const detail =
      found === null
        ? 'The key does not exist.'
        : `The key's current ETag is ${etag}, not the one in the request.`;
    return failure('precondition-failed', `${detail} Nothing was written.`, { key, etag });
  }
  // A check compares text, so it cannot stand for bytes that are not valid UTF-8.
  if (found.type === 'string' && typeof found.value === 'string') {
    if (bytesOfText(found.value) === found.raw) {
      return success([{ kind: 'equals', key, value: found.value }]);
    }
  }
  const detail = `Only a valid UTF-8 string can be guarded by its ETag; this is a ${found.type}. Use POST /v1/writes with checks.`;
  return failure('unsupported-type', detail, { type: found.type });
}
