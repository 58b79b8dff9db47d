/** The requests of benchmarks: writes, reads and orders through the Worker, and bare commands past it. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Stack, StackRegion } from '../../local/stack/stack.ts';

/** The members of `GET /v1/regions` that the benchmark reads. */
interface Described {
  readonly regions: readonly {
    readonly id: string;
    readonly unacknowledged: number;
    readonly state: string;
    readonly copy: { readonly source: string } | null;
  }[];
  readonly coordinators: readonly { readonly held: boolean }[];
}

/** The result of an attempt: committed with results, refused with nothing written, or unknown. */
export type Attempted =
  | { readonly kind: 'committed'; readonly results: readonly unknown[] }
  | { readonly kind: 'refused'; readonly problem: string }
  | { readonly kind: 'unknown' };

/** The answer to a read. */
export interface BenchReadAnswer {
  readonly results: readonly unknown[];
  readonly via: string;
}

/** A change of members, with its time in ms since 1970. */
export interface BenchMemberChange {
  readonly sequence: number;
  readonly atMs: number;
  readonly region: string;
  readonly event: string;
}

/** The result of a comparison of the regions. */
export interface BenchComparison {
  readonly checked: number;
  readonly differing: number;
  readonly undecided: number;
}

export interface WriteBody {
  readonly ops: readonly (readonly string[])[];
  readonly checks?: readonly { readonly key: string; readonly absent: true }[];
  readonly ack?: 'committed' | 'confirmed';
  readonly callback?: { readonly url: string; readonly secret: string };
}

/** The events of a subscription; by default all. */
export interface SubscriptionOptions {
  readonly events?: readonly string[];
  readonly prefixes?: readonly string[];
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

  /** Sends one command of the Upstash dialect. Throws unless it is carried out. */
  async command(command: readonly string[]): Promise<void> {
    await this.post('/', command);
  }

  /** Sends commands as a pipeline of the Upstash dialect. Throws unless all are carried out. */
  async pipeline(commands: readonly (readonly string[])[]): Promise<void> {
    const answers: readonly { readonly error?: string }[] = JSON.parse(
      await this.post('/pipeline', commands),
    );
    const failed = answers.find(({ error }) => error !== undefined);
    if (failed !== undefined || answers.length !== commands.length) {
      throw new Error(`a pipeline returned ${failed?.error ?? `${answers.length} answers`}`);
    }
  }

  /** Reads one key in `region` through the Worker. */
  async read(key: string, region: string, consistency: 'strong' | 'local'): Promise<void> {
    await this.post('/v1/reads', { reads: [['GET', key]], region, consistency });
  }

  /** Makes a write, and returns the result of the attempt. */
  async attempt(body: WriteBody): Promise<Attempted> {
    const answer = await this.exchange('POST', '/v1/writes', 'write', body).catch(() => null);
    if (answer === null) return { kind: 'unknown' };
    const parsed: { results?: readonly unknown[]; type?: string } = JSON.parse(answer.text);
    if (answer.status === 200) return { kind: 'committed', results: parsed.results ?? [] };
    const problem = parsed.type ?? String(answer.status);
    const isUnknown = /coordinator-unavailable|internal/.test(problem) || parsed.type === undefined;
    return isUnknown ? { kind: 'unknown' } : { kind: 'refused', problem };
  }

  /** Reads several keys in `region` as one snapshot; null if it was not answered. */
  async snapshot(
    keys: readonly string[],
    region: string,
    consistency: 'strong' | 'local' = 'strong',
  ): Promise<BenchReadAnswer | null> {
    const body = { reads: keys.map((key) => ['GET', key]), region, consistency };
    const answer = await this.exchange('POST', '/v1/reads', 'write', body).catch(() => null);
    return answer?.status === 200 ? JSON.parse(answer.text) : null;
  }

  /** Sends an operator's order. Throws unless it is accepted. */
  async order(path: string, body: unknown): Promise<void> {
    const { status, text } = await this.exchange('POST', `/v1/admin${path}`, 'admin', body);
    if (status !== 202) throw new Error(`${path} answered ${status}: ${text}`);
  }

  /** The newest changes of members after `sequence`, the oldest first. */
  async members(sequence: number): Promise<readonly BenchMemberChange[]> {
    const { text } = await this.exchange('GET', '/v1/admin/members', 'admin');
    const { members }: History = JSON.parse(text);
    return members
      .filter((change) => change.sequence > sequence)
      .map(({ sequence: number, at, member }) => ({
        sequence: number,
        atMs: Date.parse(at),
        region: member.region,
        event: member.event,
      }))
      .reverse();
  }

  /** The present copy into a region, or null. */
  async copyOf(region: string): Promise<{ readonly source: string } | null> {
    const { text } = await this.exchange('GET', '/v1/regions', 'admin');
    const { regions }: Described = JSON.parse(text);
    return regions.find(({ id }) => id === region)?.copy ?? null;
  }

  /** True while the coordinator lets no write begin, because a region is about to return. */
  async isHeld(): Promise<boolean> {
    const { text } = await this.exchange('GET', '/v1/regions', 'admin');
    const { coordinators }: Described = JSON.parse(text);
    return coordinators.some(({ held }) => held);
  }

  /** Compares the regions key by key. */
  async verify(): Promise<BenchComparison> {
    const sum = { checked: 0, differing: 0, undecided: 0 };
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const body = { limit: 10_000, ...(cursor === undefined ? {} : { cursor }) };
      const sent = await this.exchange('POST', '/v1/admin/verify', 'admin', body);
      if (sent.status !== 200) throw new Error(`verify answered ${sent.status}: ${sent.text}`);
      const slice: Slice = JSON.parse(sent.text);
      sum.checked += slice.checked;
      sum.differing += slice.differing.length;
      sum.undecided += slice.undecided.length;
      cursor = slice.next;
    }
    return sum;
  }

  /** SETs a key in every region concurrently, past Lockstep, like a client without any guarantee. */
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

  /** Resolves once every region votes and has acknowledged every decision. */
  async settled(): Promise<void> {
    for (;;) {
      const { text } = await this.exchange('GET', '/v1/regions', 'admin');
      const { regions }: Described = JSON.parse(text);
      if (regions.every(({ unacknowledged, state }) => unacknowledged === 0 && state === 'voter'))
        return;
      await delay(20);
    }
  }

  /** Subscribes an address to all events; returns the path of the subscription. */
  async subscribe(url: string, options: SubscriptionOptions = {}): Promise<string> {
    const created = await this.post('/v1/webhooks', { url, ...options }, 201);
    const { id }: { readonly id: string } = JSON.parse(created);
    return `/v1/webhooks/${id}`;
  }

  async unsubscribe(path: string): Promise<void> {
    const headers = { authorization: `Bearer ${this.stack.tokens.write}` };
    const response = await fetch(`${this.stack.url}${path}`, { method: 'DELETE', headers });
    if (!response.ok) throw new Error(`${path} answered ${response.status}`);
  }

  private async post(path: string, body: unknown, expected = 200): Promise<string> {
    const { status, text } = await this.exchange('POST', path, 'write', body);
    if (status !== expected) throw new Error(`${path} answered ${status}: ${text}`);
    return text;
  }

  private async exchange(
    method: string,
    path: string,
    scope: 'write' | 'admin',
    body?: unknown,
  ): Promise<{ readonly status: number; readonly text: string }> {
    const authorization = `Bearer ${this.stack.tokens[scope]}`;
    const sent = body === undefined ? null : JSON.stringify(body);
    const headers = { authorization, ...(sent === null ? {} : { 'content-type': contentType }) };
    const response = await fetch(`${this.stack.url}${path}`, { method, headers, body: sent });
    return { status: response.status, text: await response.text() };
  }
}

const contentType = 'application/json';

interface History {
  readonly members: readonly {
    readonly sequence: number;
    readonly at: string;
    readonly member: { readonly region: string; readonly event: string };
  }[];
}

interface Slice {
  readonly checked: number;
  readonly differing: readonly unknown[];
  readonly undecided: readonly unknown[];
  readonly next: string | null;
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
