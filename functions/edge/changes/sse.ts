import { jsonText } from '../../../shared/commands/replies.ts';
import {
  type FeedMessage,
  feedCloseCodes,
  parseFeedMessage,
} from '../../../shared/http/feed-messages.ts';
import { failure, problemBody } from '../../../shared/http/problems.ts';
import {
  type EdgeDependencies,
  type FeedConnection,
  type FeedEvent,
  type FollowQuery,
  onlyShard,
} from '../http/dependencies.ts';
import { answerProblem, type EdgeContext } from '../http/respond.ts';

/** A client that lost its connection waits so long before it connects again, ms. */
const reconnectMs = 1_000;

/** Server-sent events of every change from `query` on, until the client goes. */
export async function streamChanges(
  context: EdgeContext,
  dependencies: EdgeDependencies,
  query: FollowQuery & { readonly since: number },
): Promise<Response> {
  let connection: FeedConnection;
  try {
    connection = await dependencies.feedOf(onlyShard).open(query);
  } catch (error) {
    dependencies.log('feed did not answer', { error: String(error) });
    return answerProblem(context, feedUnavailable().problem);
  }
  const requestId = context.get('requestId') ?? 'unknown';
  return context.body(eventStream(connection, query.since, requestId), 200, {
    'Content-Type': 'text/event-stream; charset=utf-8',
    'Cache-Control': 'no-store, no-transform',
    // A proxy that collects an answer before it passes it on would hold back every event.
    'X-Accel-Buffering': 'no',
  });
}

/** The feed's object did not take the connection. */
export function feedUnavailable(): ReturnType<typeof failure> {
  const detail = 'The feed could not be reached, or has too many followers. Reconnect.';
  return failure('feed-unavailable', detail, {}, { 'Retry-After': '1' });
}

/**
 * Turns the feed's messages into the text of server-sent events. The stream has no buffer of its own, so that each pull
 * means that all before it has been written; only then is it acknowledged, and the feed cuts a client that is too slow.
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
          // With a place at once, also a client that sees no change before it is cut off resumes where it began.
          controller.enqueue(encoder.encode(`retry: ${reconnectMs}\n${placeText(since)}\n`));
          return;
        }
        if (written > acknowledged) {
          connection.acknowledge(written);
          acknowledged = written;
        }
        const event = await connection.next();
        if (event.kind === 'closed') {
          controller.enqueue(encoder.encode(farewell(event, requestId)));
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

/** One event a change. The place goes along where it lies beyond the last one, or there is none to tell. */
function messageText({ changes, next, heartbeat }: FeedMessage): string {
  const events = changes.map(
    (change) => `id: ${change.sequence}\nevent: change\ndata: ${jsonText(change)}\n\n`,
  );
  const comment = heartbeat ? ': heartbeat\n' : '';
  const isSent = changes.at(-1)?.sequence === next;
  return isSent ? events.join('') : `${events.join('')}${comment}${placeText(next)}\n`;
}

/** An event without data is not shown to anyone, but its id is where the client resumes. */
function placeText(next: number): string {
  return `id: ${next}\n`;
}

/** The last words. A client connects again by itself, and is then told with a status what is wrong. */
function farewell({ code }: Extract<FeedEvent, { kind: 'closed' }>, requestId: string): string {
  if (code === feedCloseCodes.expired) {
    const detail =
      "The log no longer has the changes from here on. Reconnect to get the problem's instructions.";
    const { problem } = failure('changes-expired', detail);
    return `event: problem\ndata: ${jsonText(problemBody(problem, requestId))}\n\n`;
  }
  return code === feedCloseCodes.slow ? ': too slow\n\n' : ': closed\n\n';
}
