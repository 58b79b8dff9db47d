/** Reads the regions' states and changes from the admin API, and waits for them. */
import { expect } from 'vitest';
import type { Answer, TestRegion, TestStack } from '../support/stack/stack.ts';
import { patience } from './writes.ts';

/** An operator's view of one region; only the members that tests read. */
export interface Member {
  readonly id: string;
  readonly state: string;
  readonly cause: string | null;
  readonly health: string;
  readonly held: boolean | null;
  readonly leaseMs: number | null;
  readonly missedKeys: number | null;
}

/** One change of members, as history and feed return it. */
export interface MemberEntry {
  readonly sequence: number;
  readonly member: {
    readonly region: string;
    readonly event: string;
    readonly cause: string | null;
    readonly epoch: number;
  };
}

/** A key whose regions differ, as `verify` returns it. */
export interface ReportedDifference {
  readonly key: string;
  readonly kind: string;
  readonly lastWrite: number | null;
}

/** The outcome of a whole verification. */
export interface Verified {
  readonly checked: number;
  readonly differing: readonly ReportedDifference[];
  readonly undecided: readonly unknown[];
}

/** Sends a request with the token of an operator. */
export function ask(
  stack: TestStack,
  method: string,
  path: string,
  body?: unknown,
): Promise<Answer> {
  return stack.send(method, `/v1/admin/${path}`, body, { scope: 'admin' });
}

/** Every region in the coordinator's view. */
export async function membersOf(stack: TestStack): Promise<readonly Member[]> {
  const { body } = await ask(stack, 'GET', 'regions');
  return listIn<Member>(body, 'regions');
}

/** One region in the coordinator's view; null if it does not know this id. */
export async function memberOf(stack: TestStack, id: string): Promise<Member | null> {
  return (await membersOf(stack)).find((member) => member.id === id) ?? null;
}

/** Resolves once the region is `voter`, `out` or `copying`. Misses a state that ends between two polls. */
export async function untilState(stack: TestStack, id: string, state: string): Promise<void> {
  await expect.poll(async () => (await memberOf(stack, id))?.state, patience).toBe(state);
}

/** Resolves once every region of the stack votes, and none is leaving. */
export async function untilAllVote(stack: TestStack): Promise<void> {
  const rest = async () =>
    (await membersOf(stack)).filter(({ state, cause }) => state !== 'voter' || cause !== null);
  await expect.poll(rest, patience).toEqual([]);
}

/** The sequence of the newest change, of a write or of members. */
export async function newestChange(stack: TestStack): Promise<number> {
  const { body } = await stack.send('GET', '/v1/changes?limit=1');
  return typeof body === 'object' && body !== null && 'newest' in body ? Number(body.newest) : 0;
}

/** The changes of members after a sequence, oldest first, as the feed returns them. */
export async function memberChanges(
  stack: TestStack,
  since: number,
): Promise<readonly MemberEntry[]> {
  const found: MemberEntry[] = [];
  for (let next = since; ; ) {
    // A prefix that no write has filters writes out; a flush passes every filter.
    const path = `/v1/changes?since=${next}&members=true&prefix=no-such-key&limit=1000`;
    const { body } = await stack.send('GET', path);
    found.push(...listIn<MemberEntry>(body, 'changes').filter((change) => 'member' in change));
    const page = body as { readonly next: number; readonly newest: number };
    if (page.next >= page.newest) return found;
    next = page.next;
  }
}

/** The events of one region after a sequence, in order: `out`, `copying`, `returned` etc. */
export async function eventsOf(
  stack: TestStack,
  id: string,
  since: number,
): Promise<readonly string[]> {
  const changes = await memberChanges(stack, since);
  return changes.flatMap(({ member }) => (member.region === id ? [member.event] : []));
}

/** Compares all voters, from the first key to the last. */
export async function verify(stack: TestStack): Promise<Verified> {
  const differing: ReportedDifference[] = [];
  const undecided: unknown[] = [];
  let checked = 0;
  for (let cursor: string | null = null; ; ) {
    const answer = await ask(stack, 'POST', 'verify', cursor === null ? {} : { cursor });
    expect(answer.status).toBe(200);
    differing.push(...listIn<ReportedDifference>(answer.body, 'differing'));
    undecided.push(...listIn<unknown>(answer.body, 'undecided'));
    const slice = answer.body as { readonly checked: number; readonly next: string | null };
    checked += slice.checked;
    if (slice.next === null) return { checked, differing, undecided };
    cursor = slice.next;
  }
}

/** Holds after every region has come back: all vote, nothing is locked, and no key differs. */
export async function expectWhole(stack: TestStack): Promise<void> {
  await untilAllVote(stack);
  await expect.poll(() => stack.locks(), patience).toEqual([]);
  const { differing, undecided } = await verify(stack);
  expect({ differing, undecided }).toEqual({ differing: [], undecided: [] });
}

/**
 * The whole content of one region without Lockstep's own keys, read by plain commands; unordered replies are sorted.
 */
export async function contentOf({
  client,
}: Pick<TestRegion, 'client'>): Promise<readonly unknown[]> {
  const keys = (await client.keys('*')).filter((key) => !key.startsWith('lockstep:')).toSorted();
  const read: Readonly<Record<string, (key: string) => Promise<unknown>>> = {
    string: (key) => client.get(key),
    list: (key) => client.lrange(key, 0, -1),
    set: async (key) => (await client.smembers(key)).toSorted(),
    hash: async (key) => Object.entries(await client.hgetall(key)).toSorted(),
    zset: (key) => client.zrange(key, '0', '-1', 'WITHSCORES'),
    stream: async (key) => [
      await client.xrange(key, '-', '+'),
      await client.call('XINFO', 'GROUPS', key),
    ],
  };
  const entryOf = async (key: string) => {
    const type = await client.type(key);
    return [key, type, await client.pexpiretime(key), await read[type]?.(key)];
  };
  return Promise.all(keys.map(entryOf));
}

export function listIn<Item>(body: unknown, name: string): readonly Item[] {
  if (typeof body !== 'object' || body === null) return [];
  const list: unknown = Reflect.get(body, name);
  return Array.isArray(list) ? list : [];
}
