/** The model of a region: the specification of the Lua scripts, in TypeScript. */
import { bytesOf as sizeOfReply } from '../../functions/region/reply-shape.ts';
import { isGrowing } from '../../shared/contracts/growing.ts';
import type {
  CopyForm,
  CopyKey,
  CopyReply,
  CopyStep,
  Decision,
  DecisionReply,
  Inspection,
  InspectionResult,
  OlderLock,
  Prepare,
  ReadCommand,
  Round,
  RoundReply,
  RoundResult,
  SnapshotRequest,
  SnapshotResult,
  Vote,
} from '../../shared/contracts/round.ts';
import { compareOrder, type TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { areAll, everyKey } from '../../shared/reserved-keys.ts';
import { type Entry, hasExpired, type Keys, runCommand } from './commands.ts';
import {
  charactersOf,
  digestOfEntry,
  isRemoval,
  keyOfItem,
  keysAfter,
  type Pieces,
  readForCopy,
  writeItem,
} from './copying.ts';
import {
  copyRefusal,
  headFor,
  lastPairs,
  outcomeNoted,
  type RegionHead,
  raised,
  refusalOf,
} from './region-head.ts';
import { bytesOf, compareBytes, type ModelReply, replyInOrder, textOf } from './replies.ts';
import { type Intent, type Message, stage } from './staging.ts';

const tooLarge: ModelReply = { error: 'ERR the replies are too large; ask for less at once' };

interface Lock {
  readonly holder: TransactionOrder;
  readonly intent: Intent;
}

/** Everything that a region stores. Its parts are never changed in place once they are stored. */
export interface ModelState {
  readonly head: RegionHead | null;
  readonly data: ReadonlyMap<string, Entry>;
  readonly locks: ReadonlyMap<string, Lock>;
  readonly settled: ReadonlyMap<string, TransactionOrder>;
  /** The end of the lease by the region's own clock, ms; 0 if there is none. */
  readonly lease: number;
  /** Values that still lack pieces. */
  readonly pieces: ReadonlyMap<string, string>;
}

const nothing: ModelState = {
  head: null,
  data: new Map(),
  locks: new Map(),
  settled: new Map(),
  lease: 0,
  pieces: new Map(),
};

/**
 * A region with one shard, in memory and synchronous, for the region clients of tests and simulations. It meets the
 * same claims as the scripts (conformance.test.ts). Its state is a value, so that faults can roll it back.
 */
export class RegionModel {
  /** The published messages, in order. No rollback removes them. */
  readonly published: Message[] = [];
  /** The number of characters in its values beyond which the server refuses commands that take memory. */
  memory = Number.POSITIVE_INFINITY;
  readonly #clock: () => number;
  readonly #dumps: boolean;
  #head: RegionHead | null = null;
  /** Bytes of the outcomes in the round so far. */
  #answered = 0;
  #data = new Map<string, Entry>();
  #locks = new Map<string, Lock>();
  #settled = new Map<string, TransactionOrder>();
  #lease = 0;
  #pieces: Pieces = new Map();
  /** Whether anything in the current round may take memory: then the round shows whether the region is full. */
  #looksAtMemory = false;

  /**
   * `clock` is the region's own, in ms since the epoch. Without `dumps` it rejects values in a server's dump format.
   */
  constructor(clock: () => number, dumps = true) {
    this.#clock = clock;
    this.#dumps = dumps;
  }

  /** A copy of everything, like a backup or a lagging replica. */
  state(): ModelState {
    return {
      head: this.#head,
      data: new Map(this.#data),
      locks: new Map(this.#locks),
      settled: new Map(this.#settled),
      lease: this.#lease,
      pieces: new Map(this.#pieces),
    };
  }

  /** Returns to `state`: a rollback. */
  restore(state: ModelState): void {
    this.#head = state.head;
    this.#data = new Map(state.data);
    this.#locks = new Map(state.locks);
    this.#settled = new Map(state.settled);
    this.#lease = state.lease;
    this.#pieces = new Map(state.pieces);
  }

  /** Loses everything. */
  wipe(): void {
    this.restore(nothing);
  }

  /** Loses the lock of a key, as no region should. */
  dropLock(key: string): void {
    this.#locks.delete(key);
  }

  /** The locked keys, each with its holder. */
  locks(): readonly (readonly [key: string, holder: TransactionOrder])[] {
    return [...this.#locks].map(([key, lock]) => [key, lock.holder]);
  }

  /** Runs a command as a plain client would, bypassing Lockstep. */
  run(...args: readonly string[]): ModelReply {
    return runCommand(this.#keys(), args);
  }

  round(round: Round): RoundResult {
    const keys = this.#countKeys();
    const stored = headFor(this.#head, round, keys);
    const refusal = refusalOf(stored, round, keys);
    if (stored === null || refusal !== null) {
      return { kind: 'refused', refusal: refusal ?? { kind: 'generation', has: 0, keys } };
    }
    this.#looksAtMemory = round.prepares.some(mayTakeMemory);
    const head = raised(stored, round);
    if (stored !== this.#head) this.#dropState();
    this.#head = head;
    if (head.lowWatermark !== stored.lowWatermark) this.#forgetSettled(head.lowWatermark);
    const decisions = round.decisions.map((decision) => this.#decide(decision, round, head));
    this.#answered = 0;
    const votes = round.prepares.map((prepare) => this.#vote(prepare, round, head));
    const copy = round.copy === null ? null : this.#copy(round.copy, round, head);
    if (this.#head !== null && head.counter > stored.counter) {
      this.#head = outcomeNoted(this.#head, decisions, votes, copy);
    }
    this.#grant(round, head);
    return { kind: 'executed', reply: this.#reply(round, decisions, votes, copy) };
  }

  snapshot(request: SnapshotRequest): SnapshotResult {
    const keys = this.#countKeys();
    const refusal = refusalOf(this.#head, request, keys) ?? this.#leaseRefusal(request);
    if (refusal !== null) return { kind: 'refused', refusal };
    for (const decision of request.settle) {
      const isLocked =
        this.#countLocked(decision.transaction, decision.keys) === decision.keys.length;
      if (decision.outcome === 'commit' && isLocked && decision.keys.length > 0) {
        this.#apply(decision);
      }
    }
    let left: number = limits.snapshotBytes;
    const replies = request.commands.map((command) => {
      const reply = replyInOrder(this.#read(command), command.reply);
      const bytes = sizeOfReply(reply);
      if (bytes > left) return tooLarge;
      left -= bytes;
      return reply;
    });
    return { kind: 'read', replies, locks: this.#locksMet(request) };
  }

  inspect(inspection: Inspection): InspectionResult {
    if (inspection.kind === 'locks') {
      const locks = [...this.#locks].slice(0, inspection.count);
      const keys = locks.map(([key, { holder }]) => ({ key: bytesOf(key), digest: '', holder }));
      const more = locks.length < this.#locks.size;
      return { kind: 'inspected', keys, cursor: null, more };
    }
    const found =
      inspection.kind === 'keys'
        ? { keys: inspection.keys, cursor: null }
        : keysAfter(this.#live(), inspection.cursor, inspection.count);
    const keys = found.keys.map((key) => {
      const entry = this.#keys().get(textOf(key));
      const digest = entry === undefined ? null : digestOfEntry(entry);
      return { key, digest, holder: this.#holderOf(textOf(key)) };
    });
    return { kind: 'inspected', keys, cursor: found.cursor, more: false };
  }

  #reply(
    round: Round,
    decisions: readonly DecisionReply[],
    votes: readonly Vote[],
    copy: CopyReply | null,
  ): RoundReply {
    const [older, olderTruncated] = round.askOlder ? this.#older(round.incarnation) : [[], false];
    const clock = round.lease === null ? null : this.#clock();
    const history = this.#head === null ? [] : lastPairs(this.#head);
    const isFull = this.#looksAtMemory || round.role !== 'voter' ? this.#isFull : null;
    return { decisions, votes, history, older, olderTruncated, clock, copy, isFull };
  }

  get #isFull(): boolean {
    if (this.memory === Number.POSITIVE_INFINITY) return false;
    const sizes = [...this.#data.values()].map(charactersOf);
    return sizes.reduce((sum, size) => sum + size, 0) > this.memory;
  }

  /** Drops the state of a generation, or from before a copy. The users' keys stay. */
  #dropState(): void {
    this.#locks.clear();
    this.#settled.clear();
    this.#pieces.clear();
    this.#lease = 0;
  }

  #copy(step: CopyStep, round: Round, head: RegionHead): CopyReply {
    const by = copyRefusal(step, round, head);
    if (by !== null) return { kind: 'refused', by };
    switch (step.kind) {
      case 'begin':
        this.#dropState();
        this.#head = { ...head, phase: step.token, copyNumber: step.number };
        return { kind: 'begun' };
      case 'write':
        this.#head = { ...head, copyNumber: step.number };
        return { kind: 'written', failed: this.#writeItems(step.data) };
      case 'list':
        return { kind: 'listed', ...keysAfter(this.#live(), step.cursor, step.count) };
      case 'read':
        return {
          kind: 'read',
          ...this.#readForCopy(step.keys, step.form),
          cursor: null,
          total: null,
        };
      case 'scan': {
        const { keys, cursor } = keysAfter(this.#live(), step.cursor, step.count);
        const wanted = keys.map((key) => ({ key, from: '' }));
        const read = this.#readForCopy(wanted, step.form);
        return { kind: 'read', ...read, cursor, total: this.#data.size };
      }
    }
  }

  #readForCopy(wanted: readonly CopyKey[], form: CopyForm) {
    return readForCopy(wanted, form, this.#keys(), (key) => this.#holderOf(key) !== null);
  }

  #writeItems(data: readonly string[]) {
    return data.flatMap((text) => {
      const reason =
        !isRemoval(text) && this.#isFull
          ? 'OOM out of memory'
          : writeItem(text, this.#keys(), this.#pieces, this.#dumps);
      return reason === null ? [] : [{ key: keyOfItem(text), reason }];
    });
  }

  /** The number of users' keys that have not expired. */
  #countKeys(): number {
    return [...this.#live().keys()].filter((key) => !key.startsWith('lockstep:')).length;
  }

  /** The data without expired keys. */
  #live(): ReadonlyMap<string, Entry> {
    const keys = this.#keys();
    for (const key of [...this.#data.keys()]) keys.get(key);
    return this.#data;
  }

  #grant(round: Round, head: RegionHead): void {
    const { lease, role, epoch, incarnation } = round;
    if (lease === null || lease.reading === null || role !== 'voter') return;
    if (epoch < head.epoch || incarnation < head.incarnation) return;
    this.#lease = Math.max(this.#lease, lease.reading + lease.ttlMs);
  }

  #leaseRefusal({ strong, leased }: SnapshotRequest): { readonly kind: 'lease' } | null {
    if (!strong) return null;
    const isCopied = this.#head !== null && this.#head.phase !== '';
    return isCopied || (leased && this.#lease < this.#clock()) ? { kind: 'lease' } : null;
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
      names: () => [...this.#data.keys()],
      set: (key, entry) => {
        if (entry === undefined) this.#data.delete(key);
        else this.#data.set(key, entry);
      },
    };
  }

  #countLocked(transaction: TransactionOrder, keys: readonly string[]): number {
    return keys.filter((key) => isHolder(this.#locks.get(key), transaction)).length;
  }

  #decide(decision: Decision, round: Round, head: RegionHead): DecisionReply {
    const { transaction, keys } = decision;
    if (transaction[0] > round.incarnation) return 'refused';
    if (compareOrder(transaction, head.lowWatermark) <= 0) return 'acknowledged';
    const count = this.#countLocked(transaction, keys);
    if (count > 0 && count < keys.length) return 'lost';
    if (count > 0) {
      this.#apply(decision);
      return 'acknowledged';
    }
    if (this.#settled.has(nameOf(transaction))) return 'acknowledged';
    if (decision.outcome === 'commit') return 'lost';
    this.#settled.set(nameOf(transaction), transaction);
    return 'acknowledged';
  }

  #holderOf(key: string): TransactionOrder | null {
    return (this.#locks.get(key) ?? this.#locks.get(everyKey))?.holder ?? null;
  }

  #apply({ transaction, outcome, keys }: Decision): void {
    const clock = this.#clock();
    const isFlush = keys.some((key) => this.#locks.get(key)?.intent.kind === 'flush');
    if (isFlush && outcome === 'commit') this.#data.clear();
    const messages: Message[] = [];
    for (const key of keys) {
      const intent = this.#locks.get(key)?.intent;
      this.#locks.delete(key);
      if (outcome === 'commit' && intent?.kind === 'publish') messages.push(...intent.messages);
      if (outcome === 'abort' || intent?.kind !== 'put') continue;
      if (intent.entry === null || hasExpired(intent.entry, clock)) this.#data.delete(key);
      else this.#data.set(key, intent.entry);
    }
    this.#settled.set(nameOf(transaction), transaction);
    this.published.push(...messages.sort((a, b) => a.place - b.place));
  }

  #vote(prepare: Prepare, round: Round, head: RegionHead): Vote {
    const objection = this.#objection(prepare, round, head);
    if (objection !== null) return objection;
    if (takesMemory(prepare) && this.#isFull) {
      const part = prepare.parts.findIndex(({ operations }) => operations.some(isGrowing));
      return { kind: 'denied', code: 'OOM', reason: 'OOM out of memory', part };
    }
    if (this.#answered > limits.roundOutcomeBytes) {
      return { kind: 'refused', reason: 'had no room left for it in the answer to its round' };
    }
    const staged = stage(prepare, this.#keys());
    const { outcomes, fingerprints, intents, unlisted, most } = staged;
    this.#answered += staged.bytes;
    if (most !== null) {
      const reason = 'had no room left for the replies of all that came together';
      return { kind: 'refused', reason, most };
    }
    if (unlisted.length > 0) return { kind: 'unlisted', parts: unlisted };
    for (const [index, key] of prepare.keys.entries()) {
      const intent = intents[index];
      if (intent !== undefined) this.#locks.set(key, { holder: prepare.transaction, intent });
    }
    return { kind: 'yes', outcomes, fingerprints };
  }

  #objection({ transaction, keys }: Prepare, round: Round, head: RegionHead): Vote | null {
    if (round.epoch < head.epoch) return { kind: 'fenced', by: 'epoch' };
    if (transaction[0] < head.incarnation) return { kind: 'fenced', by: 'incarnation' };
    if (compareOrder(transaction, head.lowWatermark) <= 0) return { kind: 'late' };
    if (this.#countLocked(transaction, keys) > 0) return { kind: 'duplicate' };
    if (this.#settled.has(nameOf(transaction))) return { kind: 'late' };
    for (const key of areAll(keys) ? this.#locks.keys() : [everyKey, ...keys]) {
      const lock = this.#locks.get(key);
      if (lock !== undefined) return { kind: 'locked', key, holder: lock.holder };
    }
    return null;
  }

  #forgetSettled(lowWatermark: TransactionOrder): void {
    for (const [name, transaction] of this.#settled) {
      if (compareOrder(transaction, lowWatermark) <= 0) this.#settled.delete(name);
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

  #read(command: ReadCommand): ModelReply {
    return runCommand(this.#keys(), command.args);
  }

  #locksMet({ strong, keys }: SnapshotRequest) {
    if (!strong) return [];
    return [everyKey, ...keys].flatMap((key) => {
      const lock = this.#locks.get(key);
      return lock === undefined ? [] : [{ key, holder: lock.holder }];
    });
  }
}

function takesMemory({ parts }: Prepare): boolean {
  return parts.some(({ operations }) => operations.some(isGrowing));
}

/** The same for rounds: nobody knows the commands of a script before it runs. */
function mayTakeMemory({ parts }: Prepare): boolean {
  return parts.some(({ operations }) =>
    operations.some((operation) => operation.kind === 'script' || isGrowing(operation)),
  );
}

function isHolder(lock: Lock | undefined, transaction: TransactionOrder): boolean {
  return lock !== undefined && compareOrder(lock.holder, transaction) === 0;
}

function nameOf(transaction: TransactionOrder): string {
  return transaction.join('.');
}
