import type { Context } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { jsonText } from '../../../shared/commands/replies.ts';
import type { Scope } from '../../../shared/config/configuration.ts';
import { type Problem, problemBody, problemKinds } from '../../../shared/http/problems.ts';

/** Who sends a request: the token's id, which outlives a rotation of its secret, and what it allows. */
export interface AuthenticatedCaller {
  readonly id: string;
  readonly scope: Scope;
  /** Whether it may run scripts. */
  readonly scripts: boolean;
}

/** What each request carries through the edge. `caller` is set behind a guard, `seed` under an idempotency key. */
export interface EdgeEnvironment {
  Variables: { requestId: string; caller: AuthenticatedCaller; seed: string | undefined };
}

export type EdgeContext = Context<EdgeEnvironment>;

/** Answers with JSON in which no integer has lost a digit. State must not be answered from a cache. */
export function answerJson(
  context: EdgeContext,
  value: unknown,
  status: ContentfulStatusCode = 200,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return context.body(jsonText(value), status, {
    'Content-Type': 'application/json; charset=utf-8',
    'Cache-Control': 'no-store',
    ...headers,
  });
}

/** Answers with a problem of RFC 9457, marked with the request's id. */
export function answerProblem(context: EdgeContext, problem: Problem): Response {
  const body = jsonText(problemBody(problem, context.get('requestId') ?? 'unknown'));
  return context.body(body, problemKinds[problem.name].status, {
    'Content-Type': 'application/problem+json; charset=utf-8',
    'Cache-Control': 'no-store',
    ...problem.headers,
  });
}
