import type { Operation } from '../contracts/frame.ts';
import type { ReadRow, WriteRow } from './rows.ts';
import type { ScriptLookup } from './user-scripts.ts';

/** The inputs of the compiler besides the commands; the same inputs give the same operations. */
export interface CompileContext {
  /** The coordinator's clock, in ms since the epoch; a whole number. */
  readonly now: number;
  /** A fresh integer from 0 to 2^31 - 1 for each random draw. */
  readonly seed: () => number;
  /** Absent: no script is known by its digest. */
  readonly scripts?: ScriptLookup;
  /** True if the reply of a failing command is its error, and the other commands still run; see Part. */
  readonly continueOnError?: boolean;
}

/** A command whose form is checked, and its operation before any rewrite. */
export interface CheckedCommand {
  readonly row: WriteRow | ReadRow;
  readonly operation: Operation;
  /** True for a read that a single region answers. */
  readonly isSnapshot: boolean;
}
