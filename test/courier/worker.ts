import { DurableObject } from 'cloudflare:workers';

/**
 * A Worker for tests of the courier alone: it passes calls on to couriers, and stands in for the coordinator that
 * couriers call.
 */

export { Courier } from '../../functions/courier/courier.ts';

/** Remembers which endpoints were given up, each time it is told. The first of each endpoint is refused. */
export class Coordinator extends DurableObject {
  async disabled(endpoint: string, reason: string): Promise<void> {
    const told = (await this.ctx.storage.get<number>(`count:${endpoint}`)) ?? 0;
    await this.ctx.storage.put(`count:${endpoint}`, told + 1);
    if (told === 0) throw new Error('the coordinator is out of order');
    await this.ctx.storage.put(`reason:${endpoint}`, reason);
  }

  async told(): Promise<Record<string, string>> {
    return Object.fromEntries(await this.ctx.storage.list<string>({ prefix: 'reason:' }));
  }
}

/** A call of a method, as a test sends it. */
interface Call {
  readonly name: string;
  readonly method: string;
  readonly arguments: readonly unknown[];
}

interface Bindings {
  readonly COURIER: DurableObjectNamespace;
  readonly COORDINATOR: DurableObjectNamespace<Coordinator>;
}

export default {
  async fetch(request, { COURIER, COORDINATOR }) {
    const { pathname } = new URL(request.url);
    if (pathname === '/told') return Response.json(await COORDINATOR.getByName('shard-0').told());
    if (pathname !== '/call') return new Response('well');
    const call = await request.json<Call>();
    const stub: unknown = COURIER.getByName(call.name);
    const courier = stub as Record<string, (...values: readonly unknown[]) => Promise<unknown>>;
    try {
      return Response.json({ answer: (await courier[call.method]?.(...call.arguments)) ?? null });
    } catch (error) {
      return Response.json({ error: String(error) }, { status: 500 });
    }
  },
} satisfies ExportedHandler<Bindings>;
