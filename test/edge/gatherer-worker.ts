import { WorkerEntrypoint } from 'cloudflare:workers';
import { Gatherer } from '../../functions/edge/cache/gatherer.ts';
import { withTimeout } from '../../functions/platform/timeout.ts';

/**
 * A Worker for a test of requests that share a call in the runtime. Its requests gather as those of the edge.
 * The front in front of it leaves some of them, which only another Worker can do on a local machine.
 */

interface Services {
  readonly INNER: Fetcher;
}

/** The state of the isolate: the requests that gather wait until there are `awaited`, and their call until it may end. */
const state = { arrived: 0, awaited: 0, mayEnd: false };
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function until(isReached: () => boolean): Promise<void> {
  while (!isReached()) await pause(1);
}

const gatherer = new Gatherer<string, string>(
  {
    now: () => Date.now(),
    pause: () => until(() => state.arrived === state.awaited),
    withTimeout,
  },
  { members: 10, size: 100, patienceMs: 60_000 },
);

export default {
  async fetch(request, _environment, context) {
    const { pathname, searchParams } = new URL(request.url);
    const name = searchParams.get('name') ?? '';
    if (pathname === '/arrived') return new Response(String(state.arrived));
    if (pathname === '/end') {
      state.mayEnd = true;
      return new Response('ended');
    }
    state.arrived += 1;
    state.awaited = Number(searchParams.get('awaited'));
    const background = (work: Promise<void>) => context.waitUntil(work);
    const answer = await gatherer.ask('one', name, 1, background, async (members) => {
      await until(() => state.mayEnd);
      const together = members.map(({ item }) => item).join(' ');
      for (const { item, give } of members) give(`${item} of ${together}`);
    });
    return new Response(answer);
  },
} satisfies ExportedHandler<Services>;

/** Sends a request that is on its way, and behind it `a`, `b` and `c`, and leaves `a`, which has begun their call. */
export class Front extends WorkerEntrypoint<Services> {
  override async fetch(): Promise<Response> {
    const ask = (path: string, init: RequestInit = {}) =>
      this.env.INNER.fetch(`https://inner/${path}`, init).then((response) => response.text());
    const arrived = async (count: number) => {
      while (Number(await ask('arrived')) < count) await pause(1);
    };
    const first = ask('?name=first&awaited=4');
    await arrived(1);
    const leaving = new AbortController();
    const left = ask('?name=a&awaited=4', { signal: leaving.signal }).catch(() => 'left');
    await arrived(2);
    const others = [ask('?name=b&awaited=4'), ask('?name=c&awaited=4')];
    await arrived(4);
    leaving.abort();
    const answers = [await left];
    await ask('end');
    return Response.json([await first, ...answers, ...(await Promise.all(others))]);
  }
}
