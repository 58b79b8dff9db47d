/** Authentication: finds the caller by its bearer token, and guards routes by scope. */
import type { MiddlewareHandler } from 'hono';
import type { ClientToken, Scope } from '../../../shared/config/configuration.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import { type AuthenticatedCaller, answerProblem, type EdgeEnvironment } from './respond.ts';

/** The scopes that a token of each scope includes. */
const allowed: Readonly<Record<Scope, readonly Scope[]>> = {
  read: ['read'],
  write: ['read', 'write'],
  admin: ['read', 'write', 'admin'],
};

/**
 * Middleware that passes requests whose token includes the scope `needs`, and answers 401 or 403 to all others. With
 * `inQuery` the token may be in `?_token=`, for browser APIs that cannot send headers; elsewhere a URL never holds a
 * token, because URLs end up in logs.
 */
export type Guard = (
  needs: Scope,
  options?: { readonly inQuery: boolean },
) => MiddlewareHandler<EdgeEnvironment>;

/** Returns the caller that an Authorization header identifies, or the problem `unauthenticated`. */
export type Authenticate = (header: string | undefined) => Promise<Result<AuthenticatedCaller>>;

/** Authenticates by the configured tokens. */
export function createAuthenticate(tokens: readonly ClientToken[]): Authenticate {
  // The first request computes the digests. Kept as values: the runtime binds a promise to the request that created it.
  let digests: readonly Uint8Array[] | null = null;
  // The callers of tokens that were found right, so that their next requests cost no digest. Such a look-up compares a
  // hash of the whole text first, under a seed of the isolate's own: its timing says nothing about other tokens.
  const known = new Map<string, AuthenticatedCaller>();

  return async (header) => {
    const presented = /^bearer +([^\s]+) *$/i.exec(header ?? '')?.[1];
    if (presented === undefined) return unauthenticated();
    const remembered = known.get(presented);
    if (remembered !== undefined) return success(remembered);
    digests ??= await Promise.all(tokens.map(({ token }) => digestOf(token)));
    const caller = await callerOf(presented, tokens, digests);
    if (caller.ok) known.set(presented, caller.value);
    return caller;
  };
}

function unauthenticated(): ReturnType<typeof failure> {
  const detail = 'Send the header Authorization: Bearer <token>.';
  const headers = { 'WWW-Authenticate': 'Bearer realm="lockstep"' };
  return failure('unauthenticated', detail, {}, headers);
}

/** Creates guards that find the caller by `authenticate`. */
export function createGuard(authenticate: Authenticate): Guard {
  return (needs, options) => async (context, next) => {
    const inQuery = options?.inQuery === true ? context.req.query('_token') : undefined;
    const header = context.req.header('authorization') ?? (inQuery && `Bearer ${inQuery}`);
    const caller = await authenticate(header);
    if (!caller.ok) return answerProblem(context, caller.problem);
    const { scope } = caller.value;
    if (!allowed[scope].includes(needs)) {
      const challenge = `Bearer realm="lockstep", error="insufficient_scope", scope="${needs}"`;
      const detail = `This needs a token with the scope ${needs}; the request's token has ${scope}.`;
      const headers = { 'WWW-Authenticate': challenge };
      return answerProblem(context, failure('forbidden', detail, { needs }, headers).problem);
    }
    context.set('caller', caller.value);
    return next();
  };
}

/** The problem `forbidden` if the commands contain a script and the caller may not run scripts, otherwise null. */
export function scriptsFault(
  { scripts }: AuthenticatedCaller,
  commands: readonly (readonly string[])[],
): ReturnType<typeof failure> | null {
  const named = scripts ? undefined : commands.find(([name = '']) => /^EVAL/i.test(name));
  if (named === undefined) return null;
  const detail = `${named[0]?.toUpperCase()} needs a token that may run scripts: an operator adds "scripts": true to its entry in LOCKSTEP_TOKENS.`;
  return failure('forbidden', detail, { needs: 'scripts' });
}

async function callerOf(
  presented: string,
  tokens: readonly ClientToken[],
  digests: readonly Uint8Array[],
): Promise<Result<AuthenticatedCaller>> {
  const digest = await digestOf(presented);
  let caller: AuthenticatedCaller | null = null;
  // Every token is compared, to its last byte, so that timing reveals nothing about how close a guess was.
  for (const [index, token] of tokens.entries()) {
    const isPresented = areEqual(digest, digests[index] ?? new Uint8Array());
    if (!isPresented) continue;
    caller = { id: token.id ?? idOf(digest), scope: token.scope, scripts: token.scripts };
  }
  if (caller !== null) return success(caller);
  const challenge = 'Bearer realm="lockstep", error="invalid_token"';
  const detail = 'The token is not configured. Check that it was copied completely.';
  return failure('unauthenticated', detail, {}, { 'WWW-Authenticate': challenge });
}

function areEqual(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  for (const [index, byte] of a.entries()) difference |= byte ^ (b[index] ?? 0);
  return difference === 0;
}

/** The id of a token without a configured id: 16 hex digits of its digest, which reveal nothing about the secret. */
function idOf(digest: Uint8Array): string {
  return Array.from(digest.subarray(0, 8), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function digestOf(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
}
