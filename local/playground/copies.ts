/** Shows when the copying of a region begins, for which there is no webhook event: follows the change feed. */
import { setTimeout as delay } from 'node:timers/promises';
import { printable } from '../pages/printable.ts';
import type { Stack } from '../stack/stack.ts';

/** A running watch. */
export interface CopyWatch {
  /** Ends the watch, and resolves when its connection is closed. */
  stop(): Promise<void>;
}

/** The part of a change that is shown. Only membership changes have `member`. */
interface ShownChange {
  /** ISO 8601. */
  readonly at?: string;
  readonly member?: { readonly region: string; readonly event: string };
}

/** The pause before a lost connection is opened again, in ms. */
const reconnectMs = 500;

/** Calls `show` with a line for each region whose copying begins from now on, until `stop`. */
export function watchCopies(
  stack: Pick<Stack, 'url' | 'tokens'>,
  show: (line: string) => void,
): CopyWatch {
  const over = new AbortController();
  const ended = watch(stack, show, over.signal);
  return {
    async stop() {
      over.abort();
      await ended;
    },
  };
}

async function watch(
  stack: Pick<Stack, 'url' | 'tokens'>,
  show: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  let position: string | null = null;
  while (!signal.aborted) {
    try {
      const response = await openFeed(stack, position, signal);
      // The log no longer has the changes after the position.
      if (response.status === 410) position = null;
      for await (const line of linesOf(response)) {
        const [, name, value = ''] = /^(id|data): (.*)$/.exec(line) ?? [];
        if (name === 'id') position = value;
        const shown = name === 'data' ? lineOf(JSON.parse(value)) : null;
        if (shown !== null) show(shown);
      }
    } catch {
      // The Worker is gone or restarts. The next connection resumes at the position.
    }
    await delay(reconnectMs, undefined, { signal }).catch(() => {});
  }
}

/** Opens the feed's server-sent events after `position`, or from now on if it is null. */
function openFeed(
  { url, tokens }: Pick<Stack, 'url' | 'tokens'>,
  position: string | null,
  signal: AbortSignal,
): Promise<Response> {
  // No user's key has this prefix, so hardly any writes come besides the membership changes.
  return fetch(`${url}/v1/changes?members=true&prefix=lockstep:`, {
    headers: {
      authorization: `Bearer ${tokens.read}`,
      accept: 'text/event-stream',
      ...(position === null ? {} : { 'last-event-id': position }),
    },
    signal,
  });
}

/** The lines of a response until its end, without a last line that has no line feed. */
async function* linesOf(response: Response): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of response.body ?? []) {
    const lines = `${rest}${decoder.decode(chunk, { stream: true })}`.split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
}

function lineOf({ at = '', member }: ShownChange): string | null {
  if (member?.event !== 'copying') return null;
  return `  ${at.slice(11, 23)}  ${printable(member.region)}: its missing data are being copied`;
}
