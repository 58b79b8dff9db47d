/** The model of a region: the specification of the Lua scripts, in TypeScript. */
import { bytesOf as sizeOfReply } from '../../functions/region/reply-shape.ts';
import { assert } from '../../shared/assert.ts';
import type {
  JointPrepare,
  JointResult,
  JointRound,
  JointRoundReply,
  JointSnapshotRequest,
  JointSnapshotResult,
  JointVote,
  SnapshotShard,
} from '../../shared/contracts/joint.ts';
import type {
  CopyForm,
  CopyKey,
  CopyReply,
  CopyStep,
  Decision,
  DecisionReply,
  Inspection,
  InspectionResult,
  Prepare,
  ReadCommand,
  Refusal,
  Round,
  RoundReply,
  RoundResult,
  SnapshotRequest,
  SnapshotResult,
  Vote,
} from '../../shared/contracts/round.ts';
import type { ShardId, TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { type Entry, hasExpired, type Keys, runCommand } from './commands.ts';
import {
  charactersOf,
  countKeys,
  digestOfEntry,
  isRemoval,
  keyOfItem,
  keysAfter,
  type OwnerOf,
  ownedBy,
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
import { bytesOf, type ModelReply, replyInOrder, textOf } from './replies.ts';
import { type ModelledShard, noShard, ShardModel } from './shard-model.ts';
import { type StagedVote, voteOn } from './staged-vote.ts';
import { type Intent, isWithin, type Message, mayTakeMemory } from './staging.ts';

const tooLarge: ModelReply = { error: 'ERR the replies are too large; ask for less at once' };

/** Everything that a region stores. Its parts are never changed in place once they are stored. */
export interface ModelState {
  readonly data: ReadonlyMap<string, Entry>;
  readonly shards: ReadonlyMap<ShardId, ModelledShard>;
}

/** A round that is not refused as a whole, after its decisions. */
interface Begun {
  readonly shard: ShardModel;
  /** As the round has raised it. */
  readonly head: RegionHead;
  readonly decisions: readonly DecisionReply[];
  readonly leavesPair: boolean;
}

/** A transaction of one shard whose locks are all here, so that a commit of it can be applied. */
interface HeldShare {
  readonly shard: ShardModel;
  readonly transaction: TransactionOrder;
  readonly keys: readonly string[];
}

/**
 * A region, in memory and synchronous, for the region clients of tests and simulations. It meets the same claims as the
 * scripts (conformance.test.ts). Its state is a value, so that faults can roll it back.
 */
export class RegionModel {
  /** The published messages, in order. No rollback removes them. */
  readonly published: Message[] = [];
  /** The number of characters in its values beyond which the server refuses commands that take memory. */
  memory = Number.POSITIVE_INFINITY;
  readonly #clock: () => number;
  readonly #dumps: boolean;
  readonly #ownerOf: OwnerOf;
  /** Bytes of the outcomes in the round so far. */
  #answered = 0;
  #data = new Map<string, Entry>();
  #shards = new Map<ShardId, ShardModel>();
  /** Whether anything in the current round may take memory: then the round shows whether the region is full. */
  #looksAtMemory = false;

  /**
   * `clock` is the region's own, in ms since the epoch. Without `dumps` it rejects values in a server's dump format.
   */
  constructor(clock: () => number, dumps = true, ownerOf: OwnerOf = null) {
    this.#clock = clock;
    this.#dumps = dumps;
    this.#ownerOf = ownerOf;
  }

  /** A copy of everything, like a backup or a lagging replica. */
  state(): ModelState {
    const shards = [...this.#shards].map(([id, shard]) => [id, shard.state()] as const);
    return { data: new Map(this.#data), shards: new Map(shards) };
  }

  /** The state of one shard. */
  shard(id: ShardId = 0): ModelledShard {
    return this.#shards.get(id)?.state() ?? noShard;
  }

  /** Returns to `state`: a rollback. */
  restore(state: ModelState): void {
    this.#data = new Map(state.data);
    this.#shards = new Map([...state.shards].map(([id, shard]) => [id, new ShardModel(shard)]));
  }

  /** Loses everything. */
  wipe(): void {
    this.restore({ data: new Map(), shards: new Map() });
  }

  /** Loses the lock of a key, as no region should. */
  dropLock(key: string, shard: ShardId = 0): void {
    this.#shardOf(shard).dropLock(key);
  }

  /** The locked keys of a shard, each with its holder. */
  locks(shard: ShardId = 0): readonly (readonly [key: string, holder: TransactionOrder])[] {
    return [...this.#shardOf(shard).locks].map(([key, lock]) => [key, lock.holder]);
  }

  /** Runs a command as a plain client would, bypassing Lockstep. */
  run(...args: readonly string[]): ModelReply {
    return runCommand(this.#keys(), args);
  }

  round(round: Round): RoundResult {
    this.#looksAtMemory = round.prepares.some(mayTakeMemory);
    this.#answered = 0;
    const begun = this.#beginRound(round, round.prepares.length > 0, this.#clock());
    if ('refusal' in begun) return { kind: 'refused', refusal: begun.refusal };
    const votes = round.prepares.map((prepare) => this.#vote(prepare, round, begun));
    const copy = round.copy === null ? null : this.#copy(round.copy, round, begun);
    return { kind: 'executed', reply: this.#endRound(round, begun, votes, copy, votes) };
  }

  joint({ rounds, prepare }: JointRound): JointResult {
    this.#looksAtMemory = mayTakeMemory(prepare);
    this.#answered = 0;
    const clock = this.#clock();
    const begun = rounds.map((round) => this.#beginRound(round, true, clock));
    const vote = this.#objectionToJoint(rounds, prepare, begun) ?? this.#stageJoint(prepare);
    const replies = begun.map((each, index): JointRoundReply => {
      if ('refusal' in each) return { kind: 'refused', refusal: each.refusal };
      const reply = this.#endRound(itemAt(rounds, index), each, [vote], null, []);
      return { kind: 'executed', reply };
    });
    return { kind: 'executed', replies, vote };
  }

  snapshot(request: SnapshotRequest): SnapshotResult {
    const { shard, keys, commands, strong } = request;
    const refusal = this.#readRefusal(request, request);
    if (refusal !== null) return { kind: 'refused', refusal };
    this.#settle(shard, request.settle, this.#clock());
    const replies = this.#readAll(commands);
    return { kind: 'read', replies, locks: strong ? this.#shardOf(shard).locksMet(keys) : [] };
  }

  /** Commands must not find their keys as they run; then the shards of all keys are named. */
  jointSnapshot(request: JointSnapshotRequest): JointSnapshotResult {
    const { shards, commands, strong } = request;
    for (const asked of shards) {
      const refusal = this.#readRefusal(asked, request);
      if (refusal !== null) return { kind: 'refused', shard: asked.shard, refusal };
    }
    const clock = this.#clock();
    for (const { shard, settle } of shards) this.#settle(shard, settle, clock);
    const replies = this.#readAll(commands);
    const locks = shards.flatMap(({ shard, keys }) =>
      this.#shardOf(shard)
        .locksMet(keys)
        .map((lock) => ({ shard, ...lock })),
    );
    return { kind: 'read', replies, locks: strong ? locks : [], unnamed: [] };
  }

  inspect(inspection: Inspection, id: ShardId = 0): InspectionResult {
    const shard = this.#shardOf(id);
    if (inspection.kind === 'locks') {
      const locks = [...shard.locks].slice(0, inspection.count);
      const keys = locks.map(([key, { holder }]) => ({ key: bytesOf(key), digest: '', holder }));
      const more = locks.length < shard.locks.size;
      return { kind: 'inspected', keys, cursor: null, more };
    }
    const found =
      inspection.kind === 'keys'
        ? { keys: inspection.keys, cursor: null }
        : keysAfter(this.#live(), inspection.cursor, inspection.count);
    const keys = found.keys.map((key) => {
      const entry = this.#keys().get(textOf(key));
      const digest = entry === undefined ? null : digestOfEntry(entry);
      return { key, digest, holder: shard.holderOf(textOf(key)) };
    });
    return { kind: 'inspected', keys, cursor: found.cursor, more: false };
  }

  #shardOf(id: ShardId): ShardModel {
    const found = this.#shards.get(id);
    if (found !== undefined) return found;
    const shard = new ShardModel();
    this.#shards.set(id, shard);
    return shard;
  }

  /** Judges the round as a whole, raises the fences and applies the decisions. */
  #beginRound(
    round: Round,
    prepares: boolean,
    clock: number,
  ): Begun | { readonly refusal: Refusal } {
    const shard = this.#shardOf(round.shard);
    const keys = countKeys(this.#live(round.shard));
    const stored = headFor(shard.head, round, keys);
    const refusal = refusalOf(stored, round, keys);
    if (stored === null || refusal !== null) {
      return { refusal: refusal ?? { kind: 'generation', has: 0, keys } };
    }
    const head = raised(stored, round, prepares);
    if (stored !== shard.head) shard.drop();
    shard.head = head;
    if (head.lowWatermark !== stored.lowWatermark) shard.forgetSettled(head.lowWatermark);
    const decisions = round.decisions.map((decision) =>
      this.#decide(decision, round, { shard, head }, clock),
    );
    return { shard, head, decisions, leavesPair: head.counter > stored.counter };
  }

  /** Notes the outcome, grants the lease, and replies. `said` are the votes of the reply. */
  #endRound(
    round: Round,
    { shard, head, decisions, leavesPair }: Begun,
    votes: readonly (Vote | JointVote)[],
    copy: CopyReply | null,
    said: readonly Vote[],
  ): RoundReply {
    if (shard.head !== null && leavesPair) {
      shard.head = outcomeNoted(shard.head, decisions, votes, copy);
    }
    this.#grant(round, shard, head);
    const [older, olderTruncated] = round.askOlder ? shard.older(round.incarnation) : [[], false];
    const clock = round.lease === null ? null : this.#clock();
    const history = shard.head === null ? [] : lastPairs(shard.head);
    const isFull = this.#looksAtMemory || round.role !== 'voter' ? this.#isFull : null;
    return { decisions, votes: said, history, older, olderTruncated, clock, copy, isFull };
  }

  /** The first shard that objects to a joint prepare, or null. */
  #objectionToJoint(
    rounds: readonly Round[],
    { shares }: JointPrepare,
    begun: readonly (Begun | { readonly refusal: Refusal })[],
  ): JointVote | null {
    for (const [index, each] of begun.entries()) {
      const { shard, transaction, keys } = itemAt(shares, index);
      if ('refusal' in each) return { kind: 'objected', shard, by: { kind: 'round' } };
      if (each.decisions.some((reply) => reply !== 'acknowledged')) {
        return { kind: 'objected', shard, by: { kind: 'decision' } };
      }
      const by = each.shard.objection(transaction, keys, itemAt(rounds, index), each.head);
      if (by !== null) return { kind: 'objected', shard, by };
    }
    return null;
  }

  #stageJoint({ now, shares, parts }: JointPrepare): JointVote {
    const [home] = shares;
    assert(home !== undefined, 'a joint transaction has a share');
    const keys = [...new Set(shares.flatMap((share) => share.keys))];
    const { vote, intents } = this.#stage({ transaction: home.transaction, keys, now, parts });
    if (vote.kind !== 'yes') return vote;
    const printOf = new Map(keys.map((key, index) => [key, vote.fingerprints[index] ?? '']));
    for (const share of shares) {
      for (const key of share.keys) {
        const intent = intents.get(key);
        assert(intent !== undefined, 'a staged transaction has an intent for each key');
        const own = intent.kind === 'flush' ? { ...intent, slots: share.slots ?? [] } : intent;
        const lock = { holder: share.transaction, intent: own };
        this.#shardOf(share.shard).addLock(key, lock);
      }
    }
    const fingerprints = shares.flatMap((share) => share.keys.map((key) => printOf.get(key) ?? ''));
    return { ...vote, fingerprints };
  }

  get #isFull(): boolean {
    if (this.memory === Number.POSITIVE_INFINITY) return false;
    const sizes = [...this.#data.values()].map(charactersOf);
    return sizes.reduce((sum, size) => sum + size, 0) > this.memory;
  }

  #copy(step: CopyStep, round: Round, { shard, head }: Begun): CopyReply {
    const by = copyRefusal(step, round, head);
    if (by !== null) return { kind: 'refused', by };
    switch (step.kind) {
      case 'begin':
        shard.drop();
        shard.head = { ...head, phase: step.token, copyNumber: step.number };
        return { kind: 'begun' };
      case 'write':
        shard.head = { ...head, copyNumber: step.number };
        return { kind: 'written', failed: this.#writeItems(step.data, shard.pieces) };
      case 'list':
        return {
          kind: 'listed',
          ...keysAfter(this.#live(round.shard), step.cursor, step.count),
        };
      case 'read':
        return {
          kind: 'read',
          ...this.#readForCopy(step.keys, step.form, shard),
          cursor: null,
          total: null,
        };
      case 'scan': {
        const { keys, cursor } = keysAfter(this.#live(round.shard), step.cursor, step.count);
        const wanted = keys.map((key) => ({ key, from: '' }));
        const read = this.#readForCopy(wanted, step.form, shard);
        return { kind: 'read', ...read, cursor, total: this.#data.size };
      }
    }
  }

  #readForCopy(wanted: readonly CopyKey[], form: CopyForm, shard: ShardModel) {
    return readForCopy(wanted, form, this.#keys(), (key) => shard.holderOf(key) !== null);
  }

  #writeItems(data: readonly string[], pieces: Pieces) {
    return data.flatMap((text) => {
      const reason =
        !isRemoval(text) && this.#isFull
          ? 'OOM out of memory'
          : writeItem(text, this.#keys(), pieces, this.#dumps);
      return reason === null ? [] : [{ key: keyOfItem(text), reason }];
    });
  }

  /** The data without expired keys; of one shard, if copies and counts are bound to its keys. */
  #live(shard: ShardId | null = null): ReadonlyMap<string, Entry> {
    for (const key of [...this.#data.keys()]) this.#keys().get(key);
    return shard === null ? this.#data : ownedBy(this.#data, this.#ownerOf, shard);
  }

  #grant(round: Round, shard: ShardModel, head: RegionHead): void {
    const { lease, role, epoch, incarnation } = round;
    if (lease === null || lease.reading === null || role !== 'voter') return;
    if (epoch < head.epoch || incarnation < head.incarnation) return;
    shard.lease = Math.max(shard.lease, lease.reading + lease.ttlMs);
  }

  /** Why a shard's state refuses a snapshot, or null. */
  #readRefusal(
    asked: SnapshotShard,
    { strong, leased }: Pick<SnapshotRequest, 'strong' | 'leased'>,
  ): Refusal | { readonly kind: 'lease' } | null {
    const { head, lease } = this.#shardOf(asked.shard);
    const refusal = refusalOf(head, asked, countKeys(this.#live(asked.shard)));
    if (refusal !== null || !strong) return refusal;
    const isCopied = head !== null && head.phase !== '';
    return isCopied || (leased && lease < this.#clock()) ? { kind: 'lease' } : null;
  }

  /** Applies the commits of a shard whose locks are all here. */
  #settle(id: ShardId, decisions: readonly Decision[], clock: number): void {
    for (const decision of decisions) {
      const { transaction, outcome, keys } = decision;
      const shard = this.#shardOf(id);
      if (outcome === 'commit' && shard.isWhole(transaction, keys)) {
        this.#apply(decision, shard, clock);
      }
    }
  }

  #readAll(commands: readonly ReadCommand[]): readonly ModelReply[] {
    let left: number = limits.snapshotBytes;
    return commands.map((command) => {
      const reply = replyInOrder(runCommand(this.#keys(), command.args), command.reply);
      const bytes = sizeOfReply(reply);
      if (bytes > left) return tooLarge;
      left -= bytes;
      return reply;
    });
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

  #decide(
    decision: Decision,
    round: Round,
    { shard, head }: Pick<Begun, 'shard' | 'head'>,
    clock: number,
  ): DecisionReply {
    const reply = shard.judge(decision, round, head);
    if (reply !== 'apply') return reply;
    this.#apply(decision, shard, clock);
    return 'acknowledged';
  }

  /** The other shares of a commit whose locks are all here: they are applied at the same moment. */
  #othersOf({ outcome, otherShares }: Decision): readonly HeldShare[] {
    if (outcome === 'abort') return [];
    return (otherShares ?? []).flatMap(({ shard: id, transaction, keys }) => {
      const shard = this.#shardOf(id);
      const isHeld = shard.isWhole(transaction, keys) && !shard.isOver(transaction);
      return isHeld ? [{ shard, transaction, keys }] : [];
    });
  }

  #apply(decision: Decision, shard: ShardModel, clock: number): void {
    const { transaction, keys, outcome } = decision;
    const held = [{ shard, transaction, keys }, ...this.#othersOf(decision)];
    const found = held.flatMap((share) =>
      share.keys.map((key) => [key, share.shard.locks.get(key)?.intent] as const),
    );
    for (const share of held) share.shard.settle(share.transaction, share.keys);
    if (outcome === 'abort') return;
    const intents = found.flatMap(([, intent]) => intent ?? []);
    this.#flush(intents);
    for (const [key, intent] of found) {
      if (intent?.kind !== 'put') continue;
      if (intent.entry === null || hasExpired(intent.entry, clock)) this.#data.delete(key);
      else this.#data.set(key, intent.entry);
    }
    const messages = intents.flatMap((intent) =>
      intent.kind === 'publish' ? intent.messages : [],
    );
    this.published.push(...messages.sort((a, b) => a.place - b.place));
  }

  /** Deletes every key in the slots that the intents empty, or every key at all. */
  #flush(intents: readonly Intent[]): void {
    const flushes = intents.flatMap((intent) => (intent.kind === 'flush' ? [intent.slots] : []));
    for (const key of [...this.#data.keys()]) {
      const isEmptied = flushes.some((slots) => slots === undefined || isWithin(slots, key));
      if (isEmptied) this.#data.delete(key);
    }
  }

  #vote(prepare: Prepare, round: Round, { shard, head }: Begun): Vote {
    const { transaction, keys } = prepare;
    const objection = shard.objection(transaction, keys, round, head);
    if (objection !== null) return objection;
    const { vote, intents } = this.#stage(prepare);
    for (const [key, intent] of intents) shard.addLock(key, { holder: transaction, intent });
    return vote;
  }

  #stage(prepare: Prepare): StagedVote {
    const staged = voteOn(prepare, this.#keys(), this.#isFull, this.#answered);
    this.#answered += staged.bytes;
    return staged;
  }
}

function itemAt<Item>(items: readonly Item[], index: number): Item {
  const item = items[index];
  assert(item !== undefined, 'there is one for each');
  return item;
}
