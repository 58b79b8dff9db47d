import { compareOrder, type TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type {
  Decision,
  DecisionReply,
  OlderLock,
  Prepare,
  ReadCommand,
  Refusal,
  Round,
  RoundPair,
  RoundReply,
  RoundResult,
  SnapshotRequest,
  SnapshotResult,
  Vote,
} from '../../shared/protocol/round.ts';
import { type Entry, type Keys, runCommand } from './commands.ts';
import {
  bytesOf,
  compareBytes,
  encodeReply,
  type Reply,
  sortMembers,
  sortPairs,
} from './replies.ts';
import { type Intent, stage } from './staging.ts';

const marksAnswered = 8;

const tooLarge: Reply = { error: 'ERR the replies are too large; ask for less at once' };

interface Meta {
  readonly generation: number;
  readonly epoch: number;
  readonly incarnation: number;
  readonly floor: TransactionOrder;
  readonly counter: number;
  /** The marks of the last rounds, oldest first; the newest has the number of `counter`. */
  readonly marks: readonly string[];
}

interface Lock {
  readonly holder: TransactionOrder;
  readonly intent: Intent;
}

/** Everything that a region holds. Its parts are never changed in place once they are kept. */
export interface RegionState {
  readonly meta: Meta | null;
  readonly data: ReadonlyMap<string, Entry>;
  readonly locks: ReadonlyMap<string, Lock>;
  readonly done: ReadonlyMap<string, TransactionOrder>;
}

/**
 * A region with one shard, in memory and synchronous: what a region client of a test or a simulation talks to. It follows
 * the same claims as the scripts (conformance.test.ts). Its state is a value, so that faults can take it back.
 */
export class RegionModel {
  readonly #clock: () => number;
  #meta: Meta | null = null;
  #data = new Map<string, Entry>();
  #locks = new Map<string, Lock>();
  #done = new Map<string, TransactionOrder>();

  /** `clock` is the region's own, in ms since the epoch. */
  constructor(clock: () => number) {
    this.#clock = clock;
  }

  /** A copy of everything, as a backup or a replica that lags would have it. */
  state(): RegionState {
    return {
      meta: this.#meta,
      data: new Map(this.#data),
      locks: new Map(this.#locks),
      done: new Map(this.#done),
    };
  }

  /** Goes back to `state`: a rollback. */
  restore(state: RegionState): void {
    this.#meta = state.meta;
    this.#data = new Map(state.data);
    this.#locks = new Map(state.locks);
    this.#done = new Map(state.done);
  }

  /** Loses everything. */
  wipe(): void {
    this.restore({ meta: null, data: new Map(), locks: new Map(), done: new Map() });
  }

  /** Loses the lock of a key, as no region should. */
  dropLock(key: string): void {
    this.#locks.delete(key);
  }

  /** The keys that are locked now, each with its holder. */
  locks(): readonly (readonly [key: string, holder: TransactionOrder])[] {
    return [...this.#locks].map(([key, lock]) => [key, lock.holder]);
  }

  /** Runs a command as a plain client would, around Lockstep. */
  run(...args: readonly string[]): Reply {
    return runCommand(this.#keys(), args);
  }

  round(round: Round): RoundResult {
    const isNew = this.#meta === null && round.begin;
    const held = isNew ? newMeta(round.generation) : this.#meta;
    const refusal = refusalOf(held, round);
    if (held === null || refusal !== null) {
      return { kind: 'refused', refusal: refusal ?? { kind: 'generation', has: 0 } };
    }
    const meta = raised(held, round);
    this.#meta = meta;
    if (meta.floor !== held.floor) this.#forgetDone(meta.floor);
    const decisions = round.decisions.map((decision) => this.#decide(decision, round, meta));
    const votes = round.prepares.map((prepare) => this.#vote(prepare, round, meta));
    return { kind: 'executed', reply: this.#reply(round, meta, decisions, votes) };
  }

  snapshot(request: SnapshotRequest): SnapshotResult {
    const has = this.#meta?.generation ?? 0;
    if (this.#meta === null || has !== request.generation) {
      return { kind: 'refused', refusal: { kind: 'generation', has } };
    }
    for (const decision of request.settle) {
      const isHeld = this.#held(decision.transaction, decision.keys) === decision.keys.length;
      if (decision.outcome === 'commit' && isHeld && decision.keys.length > 0) {
        this.#apply(decision);
      }
    }
    let left: number = limits.snapshotBytes;
    const replies = request.commands.map((command) => {
      const reply = encodeInOrder(this.#read(command), command);
      const bounded = reply.length > left ? encodeReply(tooLarge) : reply;
      left -= bounded.length;
      return bounded;
    });
    return { kind: 'read', replies: `[${replies.join(',')}]`, locks: this.#locksMet(request) };
  }

  #reply(
    round: Round,
    meta: Meta,
    decisions: readonly DecisionReply[],
    votes: readonly Vote[],
  ): RoundReply {
    const [older, olderTruncated] = round.askOlder ? this.#older(round.incarnation) : [[], false];
    return { decisions, votes, marks: lastMarks(meta), older, olderTruncated };
  }

  #keys(): Keys {
    const clock = this.#clock();
    return {
      clock,
      get: (key) => {
        const entry = this.#data.get(key);
        if (entry === undefined || !hasExpired(entry, clock)) return entry;
        this.#data.delete(key);
        return undefined;
      },
      set: (key, entry) => {
        if (entry === undefined) this.#data.delete(key);
        else this.#data.set(key, entry);
      },
    };
  }

  #held(transaction: TransactionOrder, keys: readonly string[]): number {
    return keys.filter((key) => isHolder(this.#locks.get(key), transaction)).length;
  }

  #decide(decision: Decision, round: Round, meta: Meta): DecisionReply {
    const { transaction, keys } = decision;
    if (transaction[0] > round.incarnation) return 'refused';
    if (compareOrder(transaction, meta.floor) <= 0) return 'acknowledged';
    const held = this.#held(transaction, keys);
    if (held > 0 && held < keys.length) return 'lost';
    if (held > 0) {
      this.#apply(decision);
      return 'acknowledged';
    }
    if (this.#done.has(nameOf(transaction))) return 'acknowledged';
    if (decision.outcome === 'commit') return 'lost';
    this.#done.set(nameOf(transaction), transaction);
    return 'acknowledged';
  }

  #apply({ transaction, outcome, keys }: Decision): void {
    const clock = this.#clock();
    for (const key of keys) {
      const intent = this.#locks.get(key)?.intent;
      this.#locks.delete(key);
      if (outcome === 'abort' || intent === undefined || intent.kind === 'keep') continue;
      if (intent.entry === null || hasExpired(intent.entry, clock)) this.#data.delete(key);
      else this.#data.set(key, intent.entry);
    }
    this.#done.set(nameOf(transaction), transaction);
  }

  #vote(prepare: Prepare, round: Round, meta: Meta): Vote {
    const objection = this.#objection(prepare, round, meta);
    if (objection !== null) return objection;
    const { outcomes, fingerprints, intents } = stage(prepare, this.#keys());
    for (const [index, key] of prepare.keys.entries()) {
      const intent = intents[index];
      if (intent !== undefined) this.#locks.set(key, { holder: prepare.transaction, intent });
    }
    return { kind: 'yes', outcomes, fingerprints };
  }

  #objection({ transaction, keys }: Prepare, round: Round, meta: Meta): Vote | null {
    if (round.epoch < meta.epoch) return { kind: 'fenced', by: 'epoch' };
    if (transaction[0] < meta.incarnation) return { kind: 'fenced', by: 'incarnation' };
    if (compareOrder(transaction, meta.floor) <= 0) return { kind: 'late' };
    if (this.#held(transaction, keys) > 0) return { kind: 'duplicate' };
    if (this.#done.has(nameOf(transaction))) return { kind: 'late' };
    for (const key of keys) {
      const lock = this.#locks.get(key);
      if (lock !== undefined) return { kind: 'locked', key, holder: lock.holder };
    }
    return null;
  }

  #forgetDone(floor: TransactionOrder): void {
    for (const [name, transaction] of this.#done) {
      if (compareOrder(transaction, floor) <= 0) this.#done.delete(name);
    }
  }

  #older(incarnation: number): readonly [readonly OlderLock[], boolean] {
    const byName = new Map<string, { transaction: TransactionOrder; keys: string[] }>();
    for (const [key, { holder }] of this.#locks) {
      if (holder[0] >= incarnation) continue;
      const found = byName.get(nameOf(holder));
      if (found === undefined) byName.set(nameOf(holder), { transaction: holder, keys: [key] });
      else found.keys.push(key);
    }
    const all = [...byName.values()].sort((a, b) => compareOrder(a.transaction, b.transaction));
    const listed: OlderLock[] = [];
    let count = 0;
    for (const { transaction, keys } of all) {
      count += keys.length;
      if (listed.length > 0 && count > limits.olderLocksPerAnswer) return [listed, true];
      keys.sort((a, b) => compareBytes(bytesOf(a), bytesOf(b)));
      listed.push({ transaction, keys });
    }
    return [listed, false];
  }

  #read(command: ReadCommand): Reply {
    return runCommand(this.#keys(), command.args);
  }

  #locksMet({ strong, keys }: SnapshotRequest) {
    if (!strong) return [];
    return keys.flatMap((key) => {
      const lock = this.#locks.get(key);
      return lock === undefined ? [] : [{ key, holder: lock.holder }];
    });
  }
}

function newMeta(generation: number): Meta {
  return { generation, epoch: 0, incarnation: 0, floor: [0, 0], counter: 0, marks: [] };
}

function refusalOf(meta: Meta | null, { generation, seen }: Round): Refusal | null {
  if (meta === null || meta.generation !== generation) {
    return { kind: 'generation', has: meta?.generation ?? 0 };
  }
  if (seen === null) return null;
  const [counter, mark] = seen;
  if (counter > meta.counter) return { kind: 'lost' };
  const index = counter - meta.counter + meta.marks.length - 1;
  if (index < 0) return { kind: 'history' };
  return meta.marks[index] === mark ? null : { kind: 'lost' };
}

/** What only rises is raised; a round that does anything leaves its mark. */
function raised(meta: Meta, round: Round): Meta {
  const leavesMark = round.decisions.length > 0 || round.prepares.length > 0;
  return {
    generation: meta.generation,
    epoch: Math.max(meta.epoch, round.epoch),
    incarnation: Math.max(meta.incarnation, round.incarnation),
    floor: compareOrder(round.floor, meta.floor) > 0 ? round.floor : meta.floor,
    counter: meta.counter + Number(leavesMark),
    marks: leavesMark ? [...meta.marks, round.mark].slice(-limits.historyPairs) : meta.marks,
  };
}

function lastMarks({ counter, marks }: Meta): RoundPair[] {
  const first = counter - marks.length + 1;
  return marks.map((mark, index): RoundPair => [first + index, mark]).slice(-marksAnswered);
}

function isHolder(lock: Lock | undefined, transaction: TransactionOrder): boolean {
  return lock !== undefined && compareOrder(lock.holder, transaction) === 0;
}

/** As Redis has it: at its expiry a key is still there, and gone a moment later. */
function hasExpired(entry: Entry, clock: number): boolean {
  return entry.expiry !== -1 && entry.expiry < clock;
}

function nameOf(transaction: TransactionOrder): string {
  return transaction.join('.');
}

function encodeInOrder(reply: Reply, { reply: order }: ReadCommand): string {
  if (order === 'members') return encodeReply(sortMembers(reply));
  return encodeReply(order === 'pairs' ? sortPairs(reply) : reply);
}
