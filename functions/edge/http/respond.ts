/** Writes responses: JSON and problems, never cached. */
import type { Context } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { jsonText } from '../../../shared/commands/replies.ts';
import type { Scope } from '../../../shared/config/configuration.ts';
import { type Problem, problemBody, problemKinds } from '../../../shared/http/problems.ts';

/**
 * The sender of a request: the id of its token, which stays the same when the secret is rotated, and its permissions.
 */
export interface AuthenticatedCaller {
  readonly id: string;
  readonly scope: Scope;
  /** Whether it may run scripts, a permission besides the scope. */
  readonly scripts: boolean;
}

/**
 * The variables of a request. A guard sets `caller`; `repeatable` sets `seed` if the request has an Idempotency-Key.
 */
export interface EdgeEnvironment {
  Variables: { requestId: string; caller: AuthenticatedCaller; seed: string | undefined };
}

/** A request in the edge, with its variables. */
export type EdgeContext = Context<EdgeEnvironment>;

/**
 * Answers with JSON that keeps every digit of integers. `no-store`, unless `headers` allow caching: state would be
 * stale.
 */
export function answerJson(
  value: unknown,
  status: ContentfulStatusCode = 200,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return new Response(jsonText(value), {
    status,
    headers: {
      'Content-Type': 'application/json; charset=utf-8',
      'Cache-Control': 'no-store',
      ...headers,
    },
  });
}

/** Answers with a problem of RFC 9457 whose `instance` is the request id. */
export function answerProblem(
  context: EdgeContext,
  problem: Problem,
  headers: Readonly<Record<string, string>> = {},
): Response {
  const body = jsonText(problemBody(problem, context.get('requestId') ?? 'unknown'));
  return new Response(body, {
    status: problemKinds[problem.name].status,
    headers: {
      'Content-Type': 'application/problem+json; charset=utf-8',
      'Cache-Control': 'no-store',
      ...headers,
      ...problem.headers,
    },
  });
}
