/** `GET /v1/changes`: the change feed as a page, as server-sent events, or as a WebSocket. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import type { ChangesAnswer, ChangesQuery } from '../../../shared/contracts/webhooks-and-feed.ts';
import { presentChange } from '../../../shared/http/feed-messages.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import { changesAnswerSchema, changesQuerySchema } from '../../../shared/http/webhook-schemas.ts';
import { limits } from '../../../shared/limits.ts';
import type { Guard } from '../http/authenticate.ts';
import { checkShape } from '../http/body.ts';
import { callCoordinator } from '../http/coordinator-calls.ts';
import type { EdgeDependencies, FollowQuery } from '../http/dependencies.ts';
import { problemResponses, secured } from '../http/openapi.ts';
import {
  answerJson,
  answerProblem,
  type EdgeContext,
  type EdgeEnvironment,
} from '../http/respond.ts';
import { shardOfAll } from '../http/shards.ts';
import { feedUnavailable, streamChanges } from './sse.ts';

type Page = Extract<ChangesAnswer, { kind: 'page' }>;

/** A position beyond every change, at which the coordinator answers with its newest sequence. */
const beyond = Number.MAX_SAFE_INTEGER;

const getRoute = createRoute({
  method: 'get',
  path: '/v1/changes',
  operationId: 'listChanges',
  tags: ['Changes'],
  summary: 'Read committed writes in order, as a page or as a stream',
  description:
    'Returns a page as JSON. With `Accept: text/event-stream` it returns server-sent events, and with `Upgrade: websocket` a WebSocket; both are endless streams that ignore `limit`. A browser, which cannot send headers with these, passes its token as `?_token=`.',
  ...secured('read'),
  request: {
    query: changesQuerySchema,
    headers: z.object({
      'Last-Event-ID': z.string().optional().openapi({
        description:
          'For server-sent events: the last `id` that the client received. It overrides `since`.',
      }),
    }),
  },
  responses: {
    200: {
      description: 'A page, or events: each `change` event carries one change as JSON',
      content: {
        'application/json': { schema: changesAnswerSchema },
        'text/event-stream': { schema: z.string() },
      },
    },
    101: { description: 'A WebSocket; each message is {changes, next} or {heartbeat, next}' },
    ...problemResponses(400, 401, 403, 410, 503),
  },
});

/** Mounts `GET /v1/changes`. */
export function mountChanges(
  app: OpenAPIHono<EdgeEnvironment>,
  dependencies: EdgeDependencies,
  guard: Guard,
): void {
  app.openAPIRegistry.registerPath(getRoute);
  app.get(getRoute.getRoutingPath(), guard('read', { inQuery: true }), async (context) => {
    const form = formOf(context);
    const query = queryOf(context, form);
    if (!query.ok) return answerProblem(context, query.problem);
    if (form === 'page') return answerPage(context, dependencies, query.value);
    if (isFilterLarge(query.value)) {
      const detail =
        'The prefixes are too long together for a stream. Use shorter or fewer prefixes.';
      return answerProblem(context, failure('invalid-request', detail).problem);
    }
    const { since = null, prefixes, values, members } = query.value;
    const wanted = { prefixes, values, members };
    if (form === 'websocket') return upgrade(context, dependencies, { since, ...wanted });
    // The position is checked before the stream opens, so that a problem has a status: a client would reopen a stream
    // that ends at once.
    const page = await lookUp(dependencies, { ...query.value, limit: 1, values: false });
    if (!page.ok) return answerProblem(context, page.problem);
    const from = since ?? page.value.next;
    return streamChanges(context, dependencies, { since: from, ...wanted });
  });
}

type Form = 'page' | 'events' | 'websocket';
/** `since` undefined: after the newest change. */
type Asked = Omit<ChangesQuery, 'since'> & { readonly since: number | undefined };

/** A HEAD request gets the headers of a page: a stream would never end, as nobody reads it. */
function formOf(context: EdgeContext): Form {
  if (context.req.method !== 'GET') return 'page';
  if (context.req.header('upgrade')?.toLowerCase() === 'websocket') return 'websocket';
  const accept = context.req.header('accept') ?? '';
  return /(?:^|,)\s*text\/event-stream\s*(?:[;,]|$)/i.test(accept) ? 'events' : 'page';
}

function queryOf(context: EdgeContext, form: Form): Result<Asked> {
  const given = context.req.queries();
  const { _token, prefix = [], ...rest } = given;
  const repeated = Object.keys(rest).find((name) => (rest[name]?.length ?? 0) > 1);
  if (repeated !== undefined) {
    const detail = `The query has ${JSON.stringify(repeated.slice(0, 40))} twice: send it once.`;
    return failure('invalid-request', detail);
  }
  const single = Object.entries(rest).map(([name, values]) => [name, values[0]]);
  const resume = form === 'events' ? context.req.header('last-event-id') : undefined;
  if (resume !== undefined && !changesQuerySchema.shape.since.safeParse(resume).success) {
    const detail =
      'The header Last-Event-ID must be the `id` of an event of this stream, a whole number. Without it, `since` applies.';
    return failure('invalid-request', detail);
  }
  const since = resume === undefined ? {} : { since: resume };
  const query = checkShape({ ...Object.fromEntries(single), ...since, prefix }, changesQuerySchema);
  if (!query.ok) return query;
  const { since: position, limit, prefix: prefixes, values, members } = query.value;
  return success({ since: position, limit, prefixes, values, members });
}

/** True if the filter is too large for the feed, which stores each follower's filter with its connection. */
function isFilterLarge({ prefixes, values, members }: Asked): boolean {
  return JSON.stringify({ prefixes, values, members }).length > limits.followerFilterBytes;
}

async function answerPage(
  context: EdgeContext,
  dependencies: EdgeDependencies,
  asked: Asked,
): Promise<Response> {
  const page = await lookUp(dependencies, asked);
  if (!page.ok) return answerProblem(context, page.problem);
  const { changes, next, newest } = page.value;
  return answerJson({ changes: changes.map(presentChange), next, newest });
}

/** The page after `since`, or its problem. Without `since`, an empty page at the newest change. */
async function lookUp(
  dependencies: EdgeDependencies,
  { since, ...rest }: Asked,
): Promise<Result<Page>> {
  const shard = shardOfAll(dependencies);
  if (!shard.ok) return shard;
  const answer = await callCoordinator(dependencies, shard.value, 'changes', {
    ...rest,
    since: since ?? beyond,
  });
  if (!answer.ok) return answer;
  switch (answer.value.kind) {
    case 'page':
      return success(answer.value);
    case 'expired':
      return expired(answer.value.oldest);
    case 'ahead': {
      const { newest } = answer.value;
      if (since === undefined) return success({ kind: 'page', changes: [], next: newest, newest });
      const detail = `since, or Last-Event-ID, is ${since}, and the newest change is ${newest}. Use the \`next\` of a response.`;
      return failure('invalid-request', detail, { newest });
    }
  }
}

function expired(oldest: number): ReturnType<typeof failure> {
  const detail = `The oldest change in the log has the sequence ${oldest}. Call it once without \`since\`, then read the keys that you follow again, then continue from the \`next\` of that response.`;
  return failure('changes-expired', detail, { oldest });
}

/**
 * The feed checks the position of a WebSocket: a browser sees the reason of a close, but nothing of a refused upgrade.
 */
async function upgrade(
  context: EdgeContext,
  dependencies: EdgeDependencies,
  query: FollowQuery,
): Promise<Response> {
  const shard = shardOfAll(dependencies);
  if (!shard.ok) return answerProblem(context, shard.problem);
  try {
    return await dependencies.feedOf(shard.value).upgrade(query);
  } catch (error) {
    dependencies.log('feed did not answer', { error: String(error) });
    return answerProblem(context, feedUnavailable().problem);
  }
}
