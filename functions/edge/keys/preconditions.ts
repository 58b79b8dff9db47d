import { bytesOfText } from '../../../shared/commands/replies.ts';
import type { Check } from '../../../shared/contracts/frame.ts';
import { failure, type Problem, type Result, success } from '../../../shared/http/problems.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import type { EdgeContext } from '../http/respond.ts';
import { type RegionReader, readTargetOf } from '../reads/region-reader.ts';
import { etagOf, parseTags } from './etags.ts';
import { type FoundValue, readValue } from './values.ts';

/** If-Match and If-None-Match as the client sent them. */
export function conditionsOf(context: EdgeContext): readonly (string | null)[] {
  return [context.req.header('if-match') ?? null, context.req.header('if-none-match') ?? null];
}

/**
 * Turns the conditions of a PUT or DELETE into checks. A named ETag is compared with the present value, and the write
 * then carries a check for exactly that value: what happens in between fails the check and is told as 412 too.
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
  const place = readTargetOf(context, dependencies, { consistency: 'strong' });
  const read = await readValue(reader, key, place);
  if (!read.ok) return read;
  const isRepeatable = context.req.header('idempotency-key') !== undefined;
  return checksFor(key, tags, read.value.found, isRepeatable);
}

/** A client that sent a condition in a header knows nothing of checks, so it is told of its condition. */
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
    // The first sending of this request may be what changed the key. Only the coordinator knows, so it is asked with
    // checks that cannot hold together: it answers what it recorded under the idempotency key, or that they failed.
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
  // A check compares text, so it cannot stand for bytes that no text spells.
  if (found.type === 'string' && typeof found.value === 'string') {
    if (bytesOfText(found.value) === found.raw) {
      return success([{ kind: 'equals', key, value: found.value }]);
    }
  }
  const detail = `Only a valid UTF-8 string can be guarded by its ETag; this is a ${found.type}. Use POST /v1/writes with checks.`;
  return failure('unsupported-type', detail, { type: found.type });
}
