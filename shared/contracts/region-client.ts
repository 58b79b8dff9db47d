/** A region, as the shells and readers call it. */

import type {
  JointResult,
  JointRound,
  JointSnapshotRequest,
  JointSnapshotResult,
} from './joint.ts';
import type {
  CommandResult,
  Inspection,
  InspectionResult,
  ReadCommand,
  Round,
  RoundResult,
  SnapshotRequest,
  SnapshotResult,
} from './round.ts';

/** One region, as the shells see it. The lack of a usable answer is a value, never a throw. */
export interface RegionClient {
  /** Sends the round exactly once. Silent after `timeoutMs`. */
  round(round: Round, timeoutMs: number): Promise<RoundResult>;
  /** Sends the joint round exactly once. Silent after `timeoutMs`. */
  joint(round: JointRound, timeoutMs: number): Promise<JointResult>;
  snapshot(request: SnapshotRequest, timeoutMs: number): Promise<SnapshotResult>;
  jointSnapshot(request: JointSnapshotRequest, timeoutMs: number): Promise<JointSnapshotResult>;
  /**
   * The digest of a key covers its type, expiry and value, but not the order or encoding in which a server keeps it, so
   * equal keys have equal digests in every region.
   */
  inspect(shard: number, inspection: Inspection, timeoutMs: number): Promise<InspectionResult>;
  /** A plain command, for the doctor. It is sent once. */
  run(command: readonly string[], timeoutMs: number): Promise<CommandResult>;
}

/** A region as readers see it: reads of short strings can share a snapshot. */
export interface ReadableRegion extends RegionClient {
  /** True if `commands` only read strings that were short, or missing, when they were last read here. */
  isShort(commands: readonly ReadCommand[]): boolean;
  /**
   * As `snapshot`, in one script for short strings and nothing else. Null if that script cannot read them, e.g. because
   * a value has grown or has another type: then nothing is known, and each command has to be read by `snapshot`.
   */
  shortSnapshot(request: SnapshotRequest, timeoutMs: number): Promise<SnapshotResult | null>;
}
