import { DurableObject } from 'cloudflare:workers';
import { Courier } from '../../functions/courier/object.ts';
import { type RpcAnswer, type RpcCall, remote, serveCall } from '../../shared/contracts/rpc.ts';

/**
 * A Worker for tests of the courier alone. It passes calls on to couriers, and has a fake of the coordinator that
 * couriers call.
 */

/** The rows that each courier has written, by its id, over all of its lives in this process. */
const rowsWritten = new Map<string, number>();

/** Counts the written rows that the platform bills: those that SQLite reports, and one per alarm that is set. */
function counted(context: DurableObjectState): DurableObjectState {
  const id = context.id.toString();
  const add = (rows: number) => rowsWritten.set(id, (rowsWritten.get(id) ?? 0) + rows);
  const { storage } = context;
  const exec = storage.sql.exec.bind(storage.sql);
  const setAlarm = storage.setAlarm.bind(storage);
  Object.defineProperty(storage.sql, 'exec', {
    value: (statement: string, ...values: unknown[]) => {
      const cursor = exec(statement, ...values);
      add(cursor.rowsWritten);
      return cursor;
    },
  });
  Object.defineProperty(storage, 'setAlarm', {
    value: (at: number) => {
      add(1);
      return setAlarm(at);
    },
  });
  return context;
}

/** A courier whose written rows are counted. */
export class CountedCourier extends Courier {
  constructor(context: DurableObjectState, environment: Env) {
    super(counted(context), environment);
  }

  rows(): number {
    return rowsWritten.get(this.ctx.id.toString()) ?? 0;
  }
}

/** Records the endpoints that were given up, per call. The first call of each endpoint is refused. */
export class CoordinatorFake extends DurableObject {
  call(call: RpcCall): Promise<RpcAnswer> {
    const disabled = (endpoint: string, reason: string) => this.#disabled(endpoint, reason);
    const hostRests = (host: string, restMs: number) => this.#hostRests(host, restMs);
    const served = {
      disabled: { proof: 'core', run: disabled },
      hostRests: { proof: 'core', run: hostRests },
    } as const;
    return serveCall(served, null, call);
  }

  async #hostRests(host: string, restMs: number): Promise<number> {
    await this.ctx.storage.put(`reason:${host}`, `rests for ${restMs} ms`);
    return restMs;
  }

  async #disabled(endpoint: string, reason: string): Promise<void> {
    const count = (await this.ctx.storage.get<number>(`count:${endpoint}`)) ?? 0;
    await this.ctx.storage.put(`count:${endpoint}`, count + 1);
    if (count === 0) throw new Error('the coordinator is out of order');
    await this.ctx.storage.put(`reason:${endpoint}`, reason);
  }

  async reports(): Promise<Record<string, string>> {
    return Object.fromEntries(await this.ctx.storage.list<string>({ prefix: 'reason:' }));
  }
}

/** A call of a method from a test. */
interface Call {
  readonly name: string;
  readonly method: string;
  readonly arguments: readonly unknown[];
}

interface Bindings {
  readonly COURIER: DurableObjectNamespace<CountedCourier>;
  readonly COORDINATOR: DurableObjectNamespace<CoordinatorFake>;
}

export default {
  async fetch(request, { COURIER, COORDINATOR }) {
    const { pathname } = new URL(request.url);
    if (pathname === '/reports')
      return Response.json(await COORDINATOR.getByName('shard-0').reports());
    const [, name] = /^\/rows\/(.+)$/.exec(pathname) ?? [];
    if (name !== undefined) return Response.json(await COURIER.getByName(name).rows());
    if (pathname !== '/call') return new Response('well');
    const call = await request.json<Call>();
    const courier = remote<Record<string, (...values: readonly unknown[]) => Promise<unknown>>>(
      () => COURIER.getByName(call.name),
    );
    try {
      return Response.json({ answer: (await courier[call.method]?.(...call.arguments)) ?? null });
    } catch (error) {
      return Response.json({ error: String(error) }, { status: 500 });
    }
  },
} satisfies ExportedHandler<Bindings>;
