import { type SnapshotReply, snapshotReplyOf } from '../../shared/commands/replies.ts';
import type { WriteAnswer, WriteRecord } from '../../shared/contracts/coordinator.ts';
import { operationAt, type WriteFrame } from '../../shared/contracts/frame.ts';
import { encodeReply } from '../../shared/contracts/reply.ts';
import type { SnapshotRequest } from '../../shared/contracts/round.ts';
import { areAll } from '../../shared/reserved-keys.ts';
import type { Entry } from '../region/commands.ts';
import { type ModelState, RegionModel } from '../region/model.ts';
import { clocksApartMs, generation } from './weather.ts';

/** A write as its client saw it. `answer` is null if no answer came. */
export interface WriteEntry {
  readonly kind: 'write';
  readonly frame: WriteFrame;
  readonly invokedAt: number;
  answeredAt: number;
  answer: WriteAnswer | null;
}

/** A strong read as its client saw it; the history omits a read without an answer. */
export interface ReadEntry {
  readonly kind: 'read';
  readonly request: SnapshotRequest;
  readonly invokedAt: number;
  readonly answeredAt: number;
  readonly replies: string;
  /** Its replies are as `textOfReplies` writes them, not as they came from a region. */
  readonly isParsed?: boolean;
}

/** An observation of one state between its invocation and its answer: a read, or a rejection. */
interface Observation {
  readonly invokedAt: number;
  readonly answeredAt: number;
  /** True if the state after some prefix of the writes shows just this. */
  readonly matches: (state: RegionModel) => boolean;
  readonly describe: string;
  readonly feasible: number[];
}

/**
 * Checks a history for strict serializability, exactly: the sequence that the coordinator gave each committed write
 * is the order that it claims. Replaying the writes one by one in that order has to give every result that was
 * answered; that order has to respect real time; and each read and each rejection has to match the state after some
 * prefix that real time allows it to see, without any going back. Returns the final state, to compare regions with.
 */
export function checkHistory(
  committed: readonly WriteRecord[],
  writes: readonly WriteEntry[],
  reads: readonly ReadEntry[],
  clocks: ReadonlyMap<string, number>,
): RegionModel {
  const frames = new Map(writes.map((entry) => [entry.frame.id, entry]));
  checkAnswers(committed, writes);
  const times = committed.map((record, position) => {
    const entry = frames.get(record.id);
    if (entry === undefined) fail(`write ${record.id} was committed but never sent`);
    // Changes of members take a place in the order as well, so it rises by one or more.
    const before = committed[position - 1]?.sequence ?? 0;
    if (record.sequence === null || record.sequence <= before)
      fail(`sequence ${record.sequence} follows ${before}`);
    return entry;
  });
  checkRealTime(times);
  const observations = [...reads.map(observationOfRead), ...rejectionsOf(writes)];
  let now = 1;
  const state = new RegionModel(() => now);
  begin(state);
  const expired = new Expired(state);
  for (let cut = 0; cut <= committed.length; cut++) {
    for (const seen of observations) {
      if (seen.matches(state)) seen.feasible.push(cut);
    }
    const record = committed[cut];
    const frame = times[cut]?.frame;
    if (record === undefined || frame === undefined) continue;
    const clock = clocks.get(record.transaction.replace(/^0\./, '')) ?? fail('a missing clock');
    const before = expired.before(frame.keys, clock);
    // A key has expired by the transaction's own moment, or because every region saw it expire since.
    const outcomes: string[] = [];
    for (const seen of [clock, ...expiriesIn(before, clock, record.decidedAt + clocksApartMs)]) {
      state.restore(before);
      outcomes.push(
        execute(state, frame, cut + 1, clock, (isStaged) => {
          now = isStaged ? clock : seen;
        }),
      );
      if (outcomes.includes(record.part)) break;
    }
    now = clock;
    if (!outcomes.includes(record.part)) {
      fail(`write ${cut + 1} answered ${record.part}, the replay ${outcomes.join(' or ')}`);
    }
    expired.after(frame.keys);
  }
  placeObservations(observations, times);
  return state;
}

/**
 * Keys that have expired for writes of a later moment. One that is decided after these and has an earlier moment still
 * sees them if nobody has touched them in between: each transaction sees one moment (rule R27).
 */
class Expired {
  readonly #state: RegionModel;
  readonly #entries = new Map<string, Entry>();
  #last: ModelState;

  constructor(state: RegionModel) {
    this.#state = state;
    this.#last = state.state();
  }

  /** The state that a write on `keys` meets at its moment, `clock`. */
  before(keys: readonly string[], clock: number): ModelState {
    this.#note([]);
    const state = this.#state.state();
    const data = new Map(state.data);
    for (const [key, entry] of this.#entries) {
      const isMet = keys.includes(key) || areAll(keys);
      if (isMet && entry.expiry > clock && !data.has(key)) data.set(key, entry);
    }
    this.#last = { ...state, data };
    this.#state.restore(this.#last);
    return this.#last;
  }

  /** The write is done: the keys that it touched are as it left them. */
  after(keys: readonly string[]): void {
    this.#note(keys);
    if (areAll(keys)) this.#entries.clear();
    for (const key of keys) this.#entries.delete(key);
  }

  /** Keeps the keys that have gone since, except `touched`. */
  #note(touched: readonly string[]): void {
    const { data } = this.#state.state();
    for (const [key, entry] of this.#last.data) {
      if (!data.has(key) && !touched.includes(key)) this.#entries.set(key, entry);
    }
    this.#last = this.#state.state();
  }
}

/** The times right after the expiries of a region's keys, from `first` to `last`, ms. */
function expiriesIn({ data }: ModelState, first: number, last: number): readonly number[] {
  const expiries = [...data.values()].map(({ expiry }) => expiry);
  const near = expiries.filter((expiry) => expiry > first && expiry <= last);
  return [...new Set(near)].sort((a, b) => a - b).map((expiry) => expiry + 1);
}

/** Every answer matches its record, and no write that was given up is recorded. */
function checkAnswers(committed: readonly WriteRecord[], writes: readonly WriteEntry[]): void {
  const records = new Map(committed.map((record) => [record.id, record]));
  const tokens = new Set<string>();
  for (const { frame, answer } of writes) {
    const record = records.get(frame.id);
    if ((answer?.kind === 'unavailable' || answer?.kind === 'too-late') && record !== undefined) {
      fail(`write ${frame.id} was answered as ${answer.kind}, yet committed`);
    }
    if (answer?.kind === 'decided' && answer.record.outcome === 'committed') {
      if (!records.has(answer.record.id))
        fail(`write ${answer.record.id} was answered and is lost`);
    }
    const key = frame.idempotency?.key;
    if (record === undefined || key === undefined) continue;
    if (tokens.has(key)) fail(`the key ${key} was committed twice`);
    tokens.add(key);
  }
}

function checkRealTime(times: readonly WriteEntry[]): void {
  let latestInvocation = 0;
  times.forEach((entry, position) => {
    if (entry.answer !== null && entry.answeredAt < latestInvocation) {
      fail(`write ${position + 1} was answered before an earlier one in the order began`);
    }
    latestInvocation = Math.max(latestInvocation, entry.invokedAt);
  });
}

/** Each observation gets the first prefix that it may have seen; a write that was seen once is never unseen again. */
function placeObservations(observations: Observation[], times: readonly WriteEntry[]): void {
  const placed: { readonly answeredAt: number; readonly cut: number }[] = [];
  const inOrder = [...observations].sort((a, b) => a.invokedAt - b.invokedAt);
  for (const seen of inOrder) {
    let low = 0;
    let high = times.length;
    times.forEach((entry, position) => {
      const known = entry.answer !== null && entry.answeredAt < seen.invokedAt;
      if (known) low = Math.max(low, position + 1);
      if (entry.invokedAt > seen.answeredAt) high = Math.min(high, position);
    });
    for (const earlier of placed) {
      if (earlier.answeredAt < seen.invokedAt) low = Math.max(low, earlier.cut);
    }
    const cut = seen.feasible.find((candidate) => candidate >= low && candidate <= high);
    if (cut === undefined) {
      fail(`${seen.describe} matches no state from ${low} to ${high}, only [${seen.feasible}]`);
    }
    placed.push({ answeredAt: seen.answeredAt, cut });
  }
}

function observationOfRead(read: ReadEntry): Observation {
  return {
    invokedAt: read.invokedAt,
    answeredAt: read.answeredAt,
    describe: `the read of ${read.request.keys.join(', ')} as ${read.replies}`,
    feasible: [],
    matches: (state) => {
      const now = state.snapshot({
        ...read.request,
        generation,
        strong: false,
        lastAcknowledged: null,
        settle: [],
      });
      if (now.kind !== 'read') return false;
      if (read.isParsed !== true) return encodeReply(now.replies) === read.replies;
      return textOfReplies(now.replies.map(snapshotReplyOf)) === read.replies;
    },
  };
}

/** The replies of a snapshot as text; equal replies give equal text. */
export function textOfReplies(replies: readonly SnapshotReply[]): string {
  return JSON.stringify(replies.map((one) => (one.ok ? one.reply : { failed: one.error })));
}

function rejectionsOf(writes: readonly WriteEntry[]): readonly Observation[] {
  return writes.flatMap(({ answer, frame, invokedAt, answeredAt }) => {
    if (answer?.kind !== 'decided' || answer.record.outcome !== 'rejected' || answer.replayed)
      return [];
    const { part } = answer.record;
    const matches = (state: RegionModel) => execute(state, frame, 1_000_000, null) === part;
    return [{ invokedAt, answeredAt, describe: `the rejection ${part}`, feasible: [], matches }];
  });
}

const head = {
  shard: 0,
  generation,
  epoch: 1,
  incarnation: 1,
  role: 'voter',
  lease: null,
  copy: null,
  begin: true,
  takes: Number.MAX_SAFE_INTEGER,
  askOlder: false,
  lowWatermark: [0, 0],
  lastAcknowledged: null,
  nonce: 'x',
} as const;

/** Gives the region the generation of the run, so that it can be read before the first write. */
function begin(state: RegionModel): void {
  state.round({ ...head, decisions: [], prepares: [] });
}

/** A region's data as text, without reserved keys; equal data gives equal text. */
export function contentsOf(model: RegionModel, now: number): string {
  const data = [...model.state().data].filter(([, { expiry }]) => expiry === -1 || expiry > now);
  const texts = data.map(([key, entry]) => `${JSON.stringify(key)} ${textOfEntry(entry)}`);
  return texts.sort().join('\n');
}

/** A value with its expiry as text; equal values give equal text. */
export function textOfEntry({ value, expiry }: Entry): string {
  const plain = (_: string, part: unknown) => {
    if (part instanceof Map) return [...part].sort();
    return part instanceof Set ? [...part].sort() : part;
  };
  return JSON.stringify({ value, expiry }, plain);
}

/**
 * Runs a frame alone on a region at `now`; if that is null, it is only tried, and undone again. Calls `phase` before
 * the frame is staged (false) and before it is committed (true).
 */
function execute(
  state: RegionModel,
  frame: WriteFrame,
  number: number,
  now: number | null,
  phase: (isStaged: boolean) => void = () => {},
): string {
  const base = now === null ? state.state() : null;
  const transaction = [1, 2 * number + 1] as const;
  const { checks, continueOnError } = frame;
  const operations = frame.operations.map((operation) => operationAt(operation, now ?? 1));
  const parts = [{ checks, operations, continueOnError }];
  const listed = new Set(frame.keys);
  const propose = () => {
    const prepare = { transaction, keys: [...listed], now: now ?? 1, parts };
    const voted = state.round({ ...head, decisions: [], prepares: [prepare] });
    return voted.kind === 'executed' ? voted.reply.votes[0] : undefined;
  };
  phase(false);
  let vote = propose();
  // Undeclared keys of a script are found as the coordinator finds them.
  for (; vote?.kind === 'unlisted'; vote = propose()) {
    for (const key of vote.parts.flatMap((part) => part.keys)) listed.add(key);
  }
  const outcome = vote?.kind === 'yes' ? vote.outcomes.join('') : `no: ${JSON.stringify(vote)}`;
  phase(true);
  const commit = { transaction, outcome: 'commit', keys: [...listed] } as const;
  if (base === null) {
    state.round({
      ...head,
      lowWatermark: [1, transaction[1] - 1],
      decisions: [commit],
      prepares: [],
    });
  } else state.restore(base);
  return outcome;
}

function fail(reason: string): never {
  throw new Error(reason);
}
