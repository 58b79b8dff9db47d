/** Sends writes and strong reads to a stack. */
import type { Answer, SendOptions, TestStack } from '../support/stack/stack.ts';

/**
 * The time within which a condition has to hold. It is no claim about speed: it only ends a test that would never
 * end.
 */
export const patience = { timeout: 120_000, interval: 20 } as const;

/** The members of a response that the tests read; absent members are undefined. */
export interface StackResponse {
  readonly id?: string;
  readonly type?: string;
  readonly detail?: string;
  readonly outcome?: string;
  readonly confirmed?: boolean;
  readonly sequence?: number;
  readonly attempts?: number;
  readonly results?: readonly unknown[];
  readonly replayed?: boolean;
  readonly appliedIn?: readonly string[];
  readonly coordinators?: readonly { readonly incarnation: number }[];
  readonly regions?: readonly { readonly region: string; readonly reason: string }[];
}

export interface WriteOptions {
  readonly key?: string;
  readonly ack?: 'committed' | 'confirmed';
  readonly timeoutMs?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly checks?: readonly unknown[];
  readonly callback?: Readonly<Record<string, unknown>>;
  readonly signal?: AbortSignal | undefined;
}

export type WriteOperation = readonly (string | number)[];

/** The JSON object of a response; an empty one if it has none. */
export function bodyOf({ body }: Answer): StackResponse {
  return typeof body === 'object' && body !== null ? body : {};
}

/** Posts a write. `key` is its Idempotency-Key. Rejects if the connection breaks. */
export function write(
  stack: TestStack,
  ops: readonly WriteOperation[],
  { key, headers, signal, ...options }: WriteOptions = {},
): Promise<Answer> {
  const sent: SendOptions = {
    headers: { ...(key === undefined ? {} : { 'idempotency-key': key }), ...headers },
    signal,
  };
  return stack.send('POST', '/v1/writes', { ops, ...options }, sent);
}

/** Posts a write that may get no response; resolves with null then. */
export function attempt(
  stack: TestStack,
  ops: readonly WriteOperation[],
  options: WriteOptions = {},
): Promise<Answer | null> {
  return write(stack, ops, options).catch(() => null);
}

/** A strong read of one string in one region; the status if it is not answered with 200. */
export async function strongRead(stack: TestStack, key: string, region: string): Promise<unknown> {
  const query = { reads: [['GET', key]], consistency: 'strong', region };
  const answer = await stack.send('POST', '/v1/reads', query, { scope: 'read' });
  const { results } = bodyOf(answer);
  return answer.status === 200 ? results?.[0] : answer.status;
}

/** The strong read of `key` in every region, in the order of the regions. */
export function strongEverywhere(stack: TestStack, key: string): Promise<readonly unknown[]> {
  return Promise.all(stack.regions.map(({ id }) => strongRead(stack, key, id)));
}

/** Requests the coordinator's state, which starts the coordinator if it does not run, and it resumes its work. */
export async function wake(stack: TestStack): Promise<Answer> {
  return stack.send('GET', '/v1/regions', undefined, { scope: 'read' });
}
