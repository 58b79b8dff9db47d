/** The change feed as server-sent events. */
import { jsonText } from '../../../shared/commands/replies.ts';
import {
  type FeedMessage,
  feedCloseCodes,
  parseFeedMessage,
} from '../../../shared/http/feed-messages.ts';
import { failure, problemBody } from '../../../shared/http/problems.ts';
import type {
  EdgeDependencies,
  FeedConnection,
  FeedEvent,
  FollowQuery,
} from '../http/dependencies.ts';
import { answerProblem, type EdgeContext } from '../http/respond.ts';
import { shardOfAll } from '../http/shards.ts';

/** The delay after which a client reconnects, in ms. */
const reconnectMs = 1_000;

/** Answers with every change after `query.since` as an event, until the client disconnects. */
export async function streamChanges(
  context: EdgeContext,
  dependencies: EdgeDependencies,
  query: FollowQuery & { readonly since: number },
): Promise<Response> {
  const shard = shardOfAll(dependencies);
  if (!shard.ok) return answerProblem(context, shard.problem);
  let connection: FeedConnection;
  try {
    connection = await dependencies.feedOf(shard.value).open(query);
  } catch (error) {
    dependencies.log('feed did not answer', { error: String(error) });
    return answerProblem(context, feedUnavailable().problem);
  }
  const requestId = context.get('requestId') ?? 'unknown';
  return context.body(eventStream(connection, query.since, requestId), 200, {
    'Content-Type': 'text/event-stream; charset=utf-8',
    'Cache-Control': 'no-store, no-transform',
    // Keeps proxies from collecting the response, which would hold back every event.
    'X-Accel-Buffering': 'no',
  });
}

/** The problem of a feed that cannot be reached, or accepts no more connections. */
export function feedUnavailable(): ReturnType<typeof failure> {
  const detail = 'The feed could not be reached, or has too many followers. Reconnect.';
  return failure('feed-unavailable', detail, {}, { 'Retry-After': '1' });
}

/**
 * Turns the feed's messages into server-sent events. The stream has no buffer, so each pull means that all earlier text
 * was written. Only then is it acknowledged, so the feed can disconnect a client that is too slow.
 */
export function eventStream(
  connection: FeedConnection,
  since: number,
  requestId: string,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let written = since;
  let acknowledged = since;
  let isOpened = false;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (!isOpened) {
          isOpened = true;
          // Sends the position at once, so that a client that is disconnected before its first change resumes here.
          controller.enqueue(encoder.encode(`retry: ${reconnectMs}\n${positionText(since)}\n`));
          return;
        }
        if (written > acknowledged) {
          connection.acknowledge(written);
          acknowledged = written;
        }
        const event = await connection.next();
        if (event.kind === 'closed') {
          controller.enqueue(encoder.encode(closeText(event, requestId)));
          controller.close();
          return;
        }
        const message = parseFeedMessage(event.text);
        controller.enqueue(encoder.encode(messageText(message)));
        written = message.next;
      },
      cancel: () => connection.close(),
    },
    { highWaterMark: 0 },
  );
}

/** An event per change. The position follows if it is beyond the last change, or if there is no change. */
function messageText({ changes, next, heartbeat }: FeedMessage): string {
  const events = changes.map(
    (change) => `id: ${change.sequence}\nevent: change\ndata: ${jsonText(change)}\n\n`,
  );
  const comment = heartbeat ? ': heartbeat\n' : '';
  const isSent = changes.at(-1)?.sequence === next;
  return isSent ? events.join('') : `${events.join('')}${comment}${positionText(next)}\n`;
}

/** An event without data, which clients do not dispatch. They do store its id, and resume there. */
function positionText(next: number): string {
  return `id: ${next}\n`;
}

/** The last text of a stream. The client reconnects by itself, and then gets the problem with its status. */
function closeText({ code }: Extract<FeedEvent, { kind: 'closed' }>, requestId: string): string {
  if (code === feedCloseCodes.expired) {
    const detail =
      "The log no longer has the changes from here on. Reconnect to get the problem's instructions.";
    const { problem } = failure('changes-expired', detail);
    return `event: problem\ndata: ${jsonText(problemBody(problem, requestId))}\n\n`;
  }
  return code === feedCloseCodes.slow ? ': too slow\n\n' : ': closed\n\n';
}
