import { setTimeout as delay } from 'node:timers/promises';
import type { Stack, StackRegion } from '../../local/stack.ts';

/** What `GET /v1/regions` says that matters here. */
interface Described {
  readonly regions: readonly { readonly unacknowledged: number }[];
}

export interface WriteBody {
  readonly ops: readonly (readonly string[])[];
  readonly checks?: readonly { readonly key: string; readonly absent: true }[];
  readonly ack?: 'committed' | 'confirmed';
  readonly callback?: { readonly url: string; readonly secret: string };
}

/** Clients of one stack: of its Worker, and of its gateways past the Worker. */
export class BenchClient {
  private readonly stack: Stack;

  constructor(stack: Stack) {
    this.stack = stack;
  }

  /** Makes a write. Throws unless it is committed. */
  async write(body: WriteBody): Promise<void> {
    await this.post('/v1/writes', body);
  }

  /** Reads one key in `region` by way of the Worker. */
  async read(key: string, region: string, consistency: 'strong' | 'local'): Promise<void> {
    await this.post('/v1/reads', { reads: [['GET', key]], region, consistency });
  }

  /** SETs a key in every region at once, past Lockstep: what a client without any guarantee would do. */
  async bareSet(key: string, value: string): Promise<void> {
    await Promise.all(
      this.stack.regions.map((region) => gatewayCommand(region, ['SET', key, value])),
    );
  }

  /** Reads a key in the farthest region, past Lockstep: one round trip. */
  async farthestGet(key: string): Promise<void> {
    const farthest = this.stack.regions.toSorted((a, b) => b.place.awsRttMs - a.place.awsRttMs)[0];
    if (farthest !== undefined) await gatewayCommand(farthest, ['GET', key]);
  }

  /** The key's value in every region, past Lockstep. */
  everywhere(key: string): Promise<readonly unknown[]> {
    return Promise.all(this.stack.regions.map((region) => gatewayCommand(region, ['GET', key])));
  }

  /** Resolves once every region has acknowledged every decision. */
  async settled(): Promise<void> {
    for (;;) {
      const described = await this.get('/v1/regions');
      if (described.regions.every(({ unacknowledged }) => unacknowledged === 0)) return;
      await delay(20);
    }
  }

  /** Subscribes an address to all events; answers the path of the subscription. */
  async subscribe(url: string): Promise<string> {
    const created = await this.post('/v1/webhooks', { url }, 201);
    const { id }: { readonly id: string } = JSON.parse(created);
    return `/v1/webhooks/${id}`;
  }

  async unsubscribe(path: string): Promise<void> {
    const headers = { authorization: `Bearer ${this.stack.tokens.write}` };
    const response = await fetch(`${this.stack.url}${path}`, { method: 'DELETE', headers });
    if (!response.ok) throw new Error(`${path} answered ${response.status}`);
  }

  private async get(path: string): Promise<Described> {
    const headers = { authorization: `Bearer ${this.stack.tokens.admin}` };
    const response = await fetch(`${this.stack.url}${path}`, { headers });
    return response.json() as Promise<Described>;
  }

  private async post(path: string, body: unknown, expected = 200): Promise<string> {
    const response = await fetch(`${this.stack.url}${path}`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${this.stack.tokens.write}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    if (response.status !== expected) {
      throw new Error(`${path} answered ${response.status}: ${text}`);
    }
    return text;
  }
}

async function gatewayCommand(
  { gateway }: StackRegion,
  command: readonly string[],
): Promise<unknown> {
  const response = await fetch(gateway.url, {
    method: 'POST',
    headers: { authorization: `Bearer ${gateway.token}` },
    body: JSON.stringify(command),
  });
  const answer: { readonly result?: unknown; readonly error?: string } = JSON.parse(
    await response.text(),
  );
  if (response.status !== 200) throw new Error(`a gateway answered: ${answer.error}`);
  return answer.result;
}
