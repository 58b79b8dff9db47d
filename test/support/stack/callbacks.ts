/** Writes with callbacks while the Worker is killed, and counts their events. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Stack } from '../../../local/stack/stack.ts';
import { isSignedBy, type Received, Receiver, verified } from '../../courier/receiver.ts';

/** The members of a stack that a soak uses: the stack of a test, or that of a benchmark. */
export type HookedStack = Pick<Stack, 'url' | 'tokens' | 'killWorker' | 'restartWorker'>;

export interface SoakOptions {
  readonly writes: number;
  readonly clients: number;
  /** The number of SIGKILLs of the Worker, evenly spread among the writes. */
  readonly kills: number;
  /** The time that the last confirmations may take after the last write, ms. */
  readonly patienceMs: number;
}

/** The counts of a soak. All from `unconfirmed` on have to be 0. */
export interface SoakReport {
  readonly writes: number;
  readonly committed: number;
  readonly aborted: number;
  readonly kills: number;
  readonly brokenConnections: number;
  /** Received requests, and those among them that were repeated. */
  readonly received: number;
  readonly repeated: number;
  /** Committed writes without a `write.confirmed`. */
  readonly unconfirmed: number;
  /** Writes with a `write.confirmed` that were not committed. */
  readonly confirmedInVain: number;
  /** Aborted writes without a `write.aborted`. */
  readonly unaborted: number;
  /** Events that came under more than one `webhook-id`, and ids that came with more than one text. */
  readonly unstable: number;
  readonly badSignatures: number;
  /** Confirmations whose sequence is not the write's, and counters that do not rise in the order of the sequences. */
  readonly outOfOrder: number;
}

/** The final outcome of a write, as its client got it. */
interface Final {
  readonly id: string;
  readonly outcome: 'committed' | 'aborted';
  readonly sequence: number;
  readonly counter: string;
  readonly value: number;
}

interface Event {
  readonly type: string;
  readonly data: { readonly id: string; readonly sequence: number | null };
}

interface CallbackResponse {
  readonly id?: string;
  readonly sequence?: number;
  readonly results?: readonly unknown[];
}

/** Endpoints of the callbacks: each has a courier of its own. */
const endpoints = 4;
const counters = 4;
/** One write per this number fails its check. */
const abortedEvery = 10;

/**
 * Clients that write with a callback, each write under a key of its own and retried until its outcome is final, while
 * the Worker is killed again and again. Counts the events of their receiver in the end.
 */
export async function soakCallbacks(stack: HookedStack, options: SoakOptions): Promise<SoakReport> {
  const receiver = await Receiver.start();
  try {
    const soak = new Soak(stack, receiver, options);
    const finals = await soak.run();
    const deadline = performance.now() + options.patienceMs;
    while (performance.now() < deadline && isIncomplete(finals, receiver)) await delay(200);
    return soak.report(finals, await publicKeyOf(stack));
  } finally {
    await receiver.stop();
  }
}

class Soak {
  private readonly stack: HookedStack;
  private readonly receiver: Receiver;
  private readonly options: SoakOptions;
  private readonly finals: Final[] = [];
  private brokenConnections = 0;
  private kills = 0;
  private arrivals: (() => void)[] = [];

  constructor(stack: HookedStack, receiver: Receiver, options: SoakOptions) {
    this.stack = stack;
    this.receiver = receiver;
    this.options = options;
  }

  async run(): Promise<readonly Final[]> {
    const { writes, clients } = this.options;
    let begun = 0;
    const client = async () => {
      while (begun < writes) {
        begun += 1;
        await this.untilAnswered(begun);
      }
    };
    await Promise.all([this.kill(), ...Array.from({ length: clients }, client)]);
    return this.finals;
  }

  report(finals: readonly Final[], publicKey: string): SoakReport {
    const { received } = this.receiver;
    const committed = idsOf(finals, 'committed');
    const aborted = idsOf(finals, 'aborted');
    const confirmed = received.map(eventOf).filter(({ type }) => type === 'write.confirmed');
    const key = { id: '', privateKey: '', publicKey };
    return {
      writes: finals.length,
      committed: committed.size,
      aborted: aborted.size,
      kills: this.kills,
      brokenConnections: this.brokenConnections,
      received: received.length,
      repeated: received.length - new Set(received.map(({ id }) => id)).size,
      unconfirmed: missing(committed, this.receiver, 'write.confirmed'),
      confirmedInVain: confirmed.filter(({ data }) => !committed.has(data.id)).length,
      unaborted: missing(aborted, this.receiver, 'write.aborted'),
      unstable: unstableIn(received),
      badSignatures: received.filter(
        (one) => !isVerified(one, this.receiver.secret) || !isSignedBy(one, key),
      ).length,
      outOfOrder: outOfOrder(finals, confirmed),
    };
  }

  private async kill(): Promise<void> {
    const { writes, kills } = this.options;
    for (let kill = 1; kill <= kills; kill += 1) {
      while (this.finals.length < (writes * kill) / (kills + 1)) {
        await new Promise<void>((resolve) => this.arrivals.push(resolve));
      }
      await this.stack.killWorker();
      await this.stack.restartWorker();
      this.kills += 1;
    }
  }

  private async untilAnswered(number: number): Promise<void> {
    const counter = `soak:${number % counters}`;
    for (;;) {
      const final = await this.attempt(number, counter).catch(() => 'broken' as const);
      if (final === 'broken') this.brokenConnections += 1;
      else if (final !== null) {
        this.finals.push(final);
        for (const arrived of this.arrivals.splice(0)) arrived();
        return;
      }
      await delay(20);
    }
  }

  /** The final outcome of the write, or null if it has to be retried. */
  private async attempt(number: number, counter: string): Promise<Final | null> {
    const isDoomed = number % abortedEvery === 0;
    const response = await fetch(`${this.stack.url}/v1/writes`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${this.stack.tokens.write}`,
        'content-type': 'application/json',
        'idempotency-key': `soak-${number}`,
      },
      body: JSON.stringify({
        ops: [['INCR', counter]],
        ...(isDoomed ? { checks: [{ key: 'soak:absent', exists: true }] } : {}),
        callback: {
          url: `${this.receiver.url}/${number % endpoints}`,
          secret: this.receiver.secret,
          events: ['write.confirmed', 'write.aborted'],
        },
      }),
    });
    const parsed: CallbackResponse = JSON.parse(await response.text());
    if (response.status !== 200 && response.status !== 412) return null;
    const outcome = response.status === 200 ? 'committed' : 'aborted';
    const { id = '', sequence = 0, results = [] } = parsed;
    return { id, outcome, sequence, counter, value: Number(results[0]) };
  }
}

function idsOf(finals: readonly Final[], outcome: Final['outcome']): ReadonlySet<string> {
  return new Set(finals.filter((final) => final.outcome === outcome).map(({ id }) => id));
}

function isIncomplete(finals: readonly Final[], receiver: Receiver): boolean {
  const confirmed = missing(idsOf(finals, 'committed'), receiver, 'write.confirmed');
  return confirmed + missing(idsOf(finals, 'aborted'), receiver, 'write.aborted') > 0;
}

function missing(ids: ReadonlySet<string>, { ids: received }: Receiver, type: string): number {
  // The bodies alone would give the same result, but all of them would have to be parsed again and again.
  const heard = new Set(received);
  return [...ids].filter((id) => !heard.has(`${id}.${type}`)).length;
}

function eventOf({ body }: Received): Event {
  const event: Event = JSON.parse(body);
  return event;
}

function unstableIn(received: readonly Received[]): number {
  const idOf = new Map<string, string>();
  const textOf = new Map<string, string>();
  let unstable = 0;
  for (const one of received) {
    const { type, data } = eventOf(one);
    const name = `${type} ${data.id}`;
    if ((idOf.get(name) ?? one.id) !== one.id) unstable += 1;
    if ((textOf.get(one.id) ?? one.body) !== one.body) unstable += 1;
    idOf.set(name, one.id);
    textOf.set(one.id, one.body);
  }
  return unstable;
}

function isVerified(received: Received, secret: string): boolean {
  try {
    verified(received, secret);
    return true;
  } catch {
    return false;
  }
}

function outOfOrder(finals: readonly Final[], confirmed: readonly Event[]): number {
  const sequences = new Map(finals.map(({ id, sequence }) => [id, sequence]));
  const foreign = confirmed.filter(({ data }) => sequences.get(data.id) !== data.sequence).length;
  const values = new Map<string, number>();
  let wrong = 0;
  const inOrder = finals
    .filter(({ outcome }) => outcome === 'committed')
    .toSorted((a, b) => a.sequence - b.sequence);
  for (const [index, { sequence, counter, value }] of inOrder.entries()) {
    const isNext = value === (values.get(counter) ?? 0) + 1;
    const isAlone = inOrder[index - 1]?.sequence !== sequence;
    if (!isNext || !isAlone) wrong += 1;
    values.set(counter, value);
  }
  return foreign + wrong;
}

async function publicKeyOf({ url, tokens }: HookedStack): Promise<string> {
  const headers = { authorization: `Bearer ${tokens.read}` };
  const response = await fetch(`${url}/v1/webhooks/keys`, { headers });
  const published: { readonly keys: readonly Readonly<Record<string, string>>[] } = JSON.parse(
    await response.text(),
  );
  const { kty, crv, x } = published.keys[0] ?? {};
  return JSON.stringify({ kty, crv, x });
}
