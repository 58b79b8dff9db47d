/** Presents the change feed as the output of MONITOR. */
import { bytesWithin } from '../../../shared/commands/raw-bytes.ts';
import { type FeedMessage, parseFeedMessage } from '../../../shared/http/feed-messages.ts';
import { eventText } from '../../../shared/http/sse.ts';
import type { EdgeDependencies, FeedConnection } from '../http/dependencies.ts';
import { beating, type SseChunk } from './sse-stream.ts';
import type { OpenStream } from './stream-limit.ts';

/** The database and client address in each line. Regions do not run the client's command, so there is none. */
const nobody = '[0 0.0.0.0:0]';

/** The escapes of MONITOR. Every other byte that is not printable ASCII is written in hex. */
const quoted: Readonly<Record<string, string>> = {
  '\\': '\\\\',
  '"': '\\"',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\x07': '\\a',
  '\b': '\\b',
};

/** The committed writes of a shard, in the format of MONITOR, from the position of `connection` on. */
export function monitorStream(
  dependencies: EdgeDependencies,
  connection: FeedConnection,
  open: OpenStream,
): ReadableStream<Uint8Array> {
  let begun = false;
  let written = 0;
  const next = async (): Promise<SseChunk> => {
    if (!begun) {
      begun = true;
      return { kind: 'text', text: eventText('"OK"') };
    }
    // All earlier text has been written when the next is requested.
    if (written > 0) connection.acknowledge(written);
    const event = await connection.next();
    if (event.kind === 'closed') return { kind: 'ended' };
    const message = parseFeedMessage(event.text);
    written = message.next;
    return { kind: 'text', text: linesOf(message) };
  };
  const stop = () => connection.close();
  return beating({ dependencies, open, next, goesOn: async () => true, stop });
}

function linesOf({ changes }: FeedMessage): string {
  const lines = changes.flatMap(({ at, commands }) => {
    if (!Array.isArray(commands)) return [];
    const moment = momentOf(Date.parse(String(at)));
    return commands.map((command) => eventText(`${moment} ${nobody} ${quotedCommand(command)}`));
  });
  return lines.join('');
}

/** Seconds with six decimals. The time is that of the decision, which has a precision of ms. */
function momentOf(ms: number): string {
  return `${Math.floor(ms / 1_000)}.${String(ms % 1_000).padStart(3, '0')}000`;
}

function quotedCommand(command: unknown): string {
  const words = Array.isArray(command) ? command.map(String) : [];
  return words.map(quote).join(' ');
}

/** Quotes one argument as MONITOR does. */
export function quote(argument: string): string {
  const spelled = (byte: string) =>
    quoted[byte] ?? `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`;
  return `"${bytesWithin(argument).replaceAll(/[^ -~]|["\\]/g, spelled)}"`;
}
