/** Predicates that select the requests of rounds, reads and copy steps for fault rules. */
import type { FaultHandle, SeenRequest } from '../../local/gateway/faults.ts';
import { readState } from '../support/region-state.ts';
import type { TestRegion, TestStack } from '../support/stack/stack.ts';

/** Variables under which no deadline of the coordinator passes while a test holds a round, and no region is evicted. */
export const patientVariables = {
  LOCKSTEP_VOTE_DEADLINE_MS: '20000',
  LOCKSTEP_ROUND_TIMEOUT_MS: '20500',
  LOCKSTEP_OUT_AFTER_MS: '60000',
} as const;

/** Positions in a round's JSON (functions/region/lua/round.lua). */
const decisionsAt = 8;
const preparesAt = 9;
const copyAt = 15;
const roundFields = 16;

/** A predicate for fault rules. */
export type Picks = (request: SeenRequest) => boolean;

/** The script that the request runs, with its arguments; null if it runs none. */
function scriptOf({ asked }: SeenRequest): readonly unknown[] | null {
  const [command] = asked.commands;
  return command !== undefined && /^eval/i.test(String(command[0])) ? command : null;
}

/** The JSON argument of a script, or null if it has none: the shortest read has words. */
function argumentOf(request: SeenRequest): readonly unknown[] | null {
  const last = String(scriptOf(request)?.at(-1));
  if (!last.startsWith('[')) return null;
  const argument: unknown = JSON.parse(last);
  return Array.isArray(argument) ? argument : null;
}

function itemsOf(request: SeenRequest, position: number): readonly (readonly unknown[])[] {
  const round = argumentOf(request);
  const items = round?.length === roundFields ? round[position] : [];
  return Array.isArray(items) ? items : [];
}

function names(keys: unknown, key: string): boolean {
  return Array.isArray(keys) && keys.includes(key);
}

/** Matches every round, probes included, and no read. */
export const rounds: Picks = (request) => argumentOf(request)?.length === roundFields;

/** Matches every read. */
export const snapshots: Picks = (request) => scriptOf(request) !== null && !rounds(request);

/** Matches rounds that prepare a transaction on `key`. */
export function preparesOf(key: string): Picks {
  return (request) => itemsOf(request, preparesAt).some((prepare) => names(prepare[3], key));
}

/** Matches rounds with a decision, to commit or to abort, about a transaction on `key`. */
export function decisionsOn(key: string): Picks {
  return (request) => itemsOf(request, decisionsAt).some((decision) => names(decision[3], key));
}

/** Matches rounds that commit a transaction on `key`. */
export function commitsOf(key: string): Picks {
  return (request) =>
    itemsOf(request, decisionsAt).some((decision) => decision[2] === 1 && names(decision[3], key));
}

/** Matches rounds that prepare anything. */
export const prepares: Picks = (request) => itemsOf(request, preparesAt).length > 0;

/** Matches rounds that commit anything. */
export const commits: Picks = (request) =>
  itemsOf(request, decisionsAt).some((decision) => decision[2] === 1);

/** The steps of a copy, as encoded in a round. */
const copyLetters = { begin: 'b', scan: 's', read: 'r', write: 'w', list: 'l' } as const;

/** Matches rounds with this step of a copy: `begin`, `write` and `list` go to its target, the others to its source. */
export function copiesBy(step: keyof typeof copyLetters): Picks {
  return (request) => {
    const [letter] = itemsOf(request, copyAt);
    return String(letter) === copyLetters[step];
  };
}

/** Makes every matching request of these regions hang, before or after it was executed. */
export function hangIn(
  regions: readonly TestRegion[],
  executed: boolean,
  matches: Picks,
): readonly FaultHandle[] {
  return regions.map(({ gateway }) =>
    gateway.faults.add({ fault: { kind: 'hang', executed }, matches }),
  );
}

/** Resolves when each of the faults has been met. */
export async function met(faults: readonly FaultHandle[]): Promise<void> {
  await Promise.all(faults.map(({ hit }) => hit));
}

/** The number of rounds with a pair that the region has executed. */
export async function roundCounter({ client }: TestRegion): Promise<number> {
  return (await readState(client))?.counter ?? 0;
}

/**
 * The number of keys in each region's database, Lockstep's own among them, except the lease, which appears and
 * expires.
 */
export function sizes({ regions }: TestStack): Promise<readonly number[]> {
  const counts = regions.map(async ({ client }) => {
    const both = await client.multi().exists('lockstep:0:lease').dbsize().exec();
    const [leases = 0, keys = 0] = both?.map(([, count]) => Number(count)) ?? [];
    return keys - leases;
  });
  return Promise.all(counts);
}
