/** V8's inspector of a Worker (the Chrome DevTools Protocol): its heap, and profiles of its CPU. */
import { z } from 'zod';

const targets = z.array(z.object({ title: z.string(), webSocketDebuggerUrl: z.string() }));
const answer = z.object({
  id: z.number().optional(),
  result: z.unknown().optional(),
  error: z.object({ message: z.string() }).optional(),
});
const heap = z.object({ usedSize: z.number(), totalSize: z.number() });
const profile = z.object({
  profile: z.object({
    nodes: z.array(
      z.object({
        id: z.number(),
        callFrame: z.object({
          functionName: z.string(),
          url: z.string(),
          lineNumber: z.number(),
        }),
      }),
    ),
    samples: z.array(z.number()),
  }),
});

/** One sampled function, and in how many samples it was the innermost one. */
export interface ProfiledFunction {
  readonly name: string;
  readonly url: string;
  /** From 0. */
  readonly line: number;
  readonly samples: number;
}

/** A session with the inspector of one Worker. */
export class Inspector {
  private readonly socket: WebSocket;
  private readonly waiting = new Map<number, (result: z.infer<typeof answer>) => void>();
  private sent = 0;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.addEventListener('message', ({ data }) => {
      const received = answer.parse(JSON.parse(String(data)));
      if (received.id !== undefined) this.waiting.get(received.id)?.(received);
    });
  }

  /** Connects to the target whose title ends with `name`. */
  static async connect(inspectorUrl: string, name: string): Promise<Inspector> {
    const listed = targets.parse(await (await fetch(`${inspectorUrl}/json`)).json());
    const target = listed.find(({ title }) => title.endsWith(name));
    if (target === undefined) throw new Error(`the inspector lists no target named ${name}`);
    const socket = new WebSocket(target.webSocketDebuggerUrl);
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener('open', () => resolve());
      socket.addEventListener('error', () => reject(new Error('the inspector refused')));
    });
    return new Inspector(socket);
  }

  /** The bytes of V8's heap in use, with garbage that is not collected yet. */
  async heapBytes(): Promise<number> {
    return heap.parse(await this.ask('Runtime.getHeapUsage')).usedSize;
  }

  /** Samples the CPU while `work` runs. */
  async profile(work: () => Promise<unknown>): Promise<readonly ProfiledFunction[]> {
    await this.ask('Profiler.enable');
    await this.ask('Profiler.setSamplingInterval', { interval: 200 });
    await this.ask('Profiler.start');
    await work();
    const { nodes, samples } = profile.parse(await this.ask('Profiler.stop')).profile;
    const counts = new Map<number, number>();
    for (const id of samples) counts.set(id, (counts.get(id) ?? 0) + 1);
    return nodes.map(({ id, callFrame: { functionName: name, url, lineNumber: line } }) => ({
      ...{ name, url, line },
      samples: counts.get(id) ?? 0,
    }));
  }

  close(): void {
    this.socket.close();
  }

  private async ask(method: string, params: object = {}): Promise<unknown> {
    this.sent += 1;
    const id = this.sent;
    const { promise, resolve } = Promise.withResolvers<z.infer<typeof answer>>();
    this.waiting.set(id, resolve);
    this.socket.send(JSON.stringify({ id, method, params }));
    const { result, error } = await promise;
    this.waiting.delete(id);
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result;
  }
}
