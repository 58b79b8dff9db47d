/** The stored form of one step of the coordinator: its decisions, confirmations and changes, as one value. */
import { assert } from '../../../shared/assert.ts';
import { type Bytes, bytesOfText, textOfBytes } from '../../../shared/contracts/bytes.ts';
import type { WriteRecord } from '../../../shared/contracts/coordinator.ts';
import type { MemberChange } from '../../../shared/contracts/members.ts';
import type { RoundPair } from '../../../shared/contracts/round.ts';
import type { Share } from '../../../shared/contracts/share.ts';
import type { Callback } from '../../../shared/contracts/webhooks-and-feed.ts';
import type {
  RegionId,
  ShardId,
  TransactionName,
  TransactionOrder,
  WriteId,
} from '../../../shared/ids.ts';
import type { CommittedWrite } from '../../../shared/protocol/io/stored.ts';
import {
  packCommands,
  packPieces,
  packTexts,
  unpackCommands,
  unpackPieces,
  unpackTexts,
} from './packed.ts';

/** The small state of a coordinator after a step. The newest step has the present one. */
export interface LogHead {
  /** The highest clock reading that was stored, ms since the epoch. */
  readonly now: number;
  /** No step before this position has a commit that some voter has yet to acknowledge. */
  readonly open: number;
  /** Nothing is open at any voter (rule R44). */
  readonly isResting: boolean;
  /** The highest pair that each region has acknowledged. */
  readonly pairs: Readonly<Record<RegionId, RoundPair>>;
  /** The guests that have not acknowledged a joint commit, by its transaction (`keyOf`); absent if there are none. */
  readonly guests?: Readonly<Record<string, readonly ShardId[]>>;
}

/** The joint part of a commit. */
export interface LoggedJoint {
  readonly otherShares: readonly Share[];
  /** Of a commit of which this shard is home: its number, and the clock reading of the transaction, ms. */
  readonly own?: { readonly shard: ShardId; readonly now: number };
  /** Of a commit of a loan: the transaction of its home, and the sequence that it has there. */
  readonly home?: { readonly name: TransactionName; readonly sequence: number };
}

/** A commit, with its writes: those that committed, and the rejected parts. */
export interface LoggedDecision {
  readonly transaction: TransactionOrder;
  readonly keys: readonly string[];
  /** Of its last write. */
  readonly sequence: number;
  readonly writes: readonly CommittedWrite[];
  readonly joint?: LoggedJoint;
}

/** A write that an event has reported as aborted. */
export interface AbandonedWrite {
  readonly id: WriteId;
  readonly reason: string;
}

/** A commit that every region has acknowledged. */
export interface LoggedConfirmation {
  readonly transaction: TransactionOrder;
  /** ms since the epoch. */
  readonly at: number;
}

/** All that a step adds to the log. */
export interface LogStep {
  readonly head: LogHead;
  readonly decisions: readonly LoggedDecision[];
  /** Of transactions without a commit. */
  readonly rejected: readonly WriteRecord[];
  readonly abandoned: readonly AbandonedWrite[];
  readonly members: readonly MemberChange[];
  readonly confirmed: readonly LoggedConfirmation[];
}

/** A write as it is read: its commands are unpacked on request, because they may be large. */
export interface ReadWrite extends Omit<CommittedWrite, 'commands'> {
  commands(): readonly (readonly string[])[];
  /** Its approximate size, in bytes. */
  readonly bytes: number;
}

/** A step as it is read. */
export interface ReadStep extends Omit<LogStep, 'decisions'> {
  readonly decisions: readonly (Omit<LoggedDecision, 'writes'> & {
    readonly writes: readonly ReadWrite[];
  })[];
}

/**
 * The part of the stored form that is JSON; bytes and texts that may be large follow it. Empty lists are omitted.
 */
interface Skeleton {
  readonly head: LogHead;
  readonly decisions?: readonly {
    readonly transaction: TransactionOrder;
    readonly sequence: number;
    readonly writes: readonly SkeletonWrite[];
    readonly joint?: LoggedJoint;
  }[];
  readonly rejected?: readonly WriteRecord[];
  readonly abandoned?: readonly AbandonedWrite[];
  readonly members?: readonly MemberChange[];
  readonly confirmed?: readonly LoggedConfirmation[];
}

interface SkeletonWrite {
  /** Without its outcome. */
  readonly record: WriteRecord;
  /** The positions of its keys among those of the transaction; null if it has others, which then follow. */
  readonly keys: readonly number[] | null;
  readonly callback?: Callback;
}

/** Encodes a step. */
export function encodeStep(step: LogStep): Bytes {
  const pieces: Bytes[] = [];
  const decisions = step.decisions.map(({ transaction, keys, sequence, writes, joint }) => {
    pieces.push(packTexts(keys));
    const positions = new Map(keys.map((key, position) => [key, position]));
    const skeletons = writes.map((write): SkeletonWrite => {
      const { record, callback } = write;
      const at = write.keys.flatMap((key) => positions.get(key) ?? []);
      const isWithin = at.length === write.keys.length;
      pieces.push(record.part);
      if (!isWithin) pieces.push(packTexts(write.keys));
      pieces.push(packCommands(write.commands, write.keys));
      const stored = { record: { ...record, part: '' }, keys: isWithin ? at : null };
      return callback === null ? stored : { ...stored, callback };
    });
    const decision = { transaction, sequence, writes: skeletons };
    return joint === undefined ? decision : { ...decision, joint };
  });
  const rejected = step.rejected.map((record) => {
    pieces.push(record.part);
    return { ...record, part: '' };
  });
  const { head, abandoned, members, confirmed } = step;
  const lists = { decisions, rejected, abandoned, members, confirmed };
  const filled = Object.entries(lists).filter(([, list]) => list.length > 0);
  const skeleton: Skeleton = { head, ...Object.fromEntries(filled) };
  return packPieces([bytesOfText(JSON.stringify(skeleton)), ...pieces]);
}

/** Decodes a step. Throws InvariantViolation for other bytes. */
export function decodeStep(encoded: Bytes): ReadStep {
  const pieces = unpackPieces(encoded).values();
  const next = (): Bytes => {
    const piece = pieces.next();
    assert(piece.done !== true, 'a step has all its pieces');
    return piece.value;
  };
  const skeleton: Skeleton = JSON.parse(textOfBytes(next()));
  const decisions = (skeleton.decisions ?? []).map(({ transaction, sequence, writes, joint }) => {
    const keys = unpackTexts(next());
    return {
      transaction,
      keys,
      sequence,
      writes: writes.map((write) => readWrite(write, keys, next)),
      ...(joint !== undefined && { joint }),
    };
  });
  const rejected = (skeleton.rejected ?? []).map((record) => ({ ...record, part: next() }));
  const { head, abandoned = [], members = [], confirmed = [] } = skeleton;
  return { head, decisions, rejected, abandoned, members, confirmed };
}

function readWrite(
  { record, keys: positions, callback }: SkeletonWrite,
  shared: readonly string[],
  next: () => Bytes,
): ReadWrite {
  const part = next();
  const packedKeys = positions === null ? next() : '';
  const keys =
    positions === null ? unpackTexts(packedKeys) : positions.map((at) => shared[at] ?? '');
  const packed = next();
  const textBytes = keys.reduce((sum, key) => sum + key.length, 0);
  return {
    record: { ...record, part },
    keys,
    commands: () => unpackCommands(packed, keys),
    callback: callback ?? null,
    bytes: textBytes + part.length + packed.length + recordBytesAbout,
  };
}

/** About the bytes of a record, besides its outcome. */
const recordBytesAbout = 400;

/** A read write with its commands. */
export function committedWriteOf(write: ReadWrite): CommittedWrite {
  const { record, keys, callback } = write;
  return { record, keys, commands: write.commands(), callback };
}
