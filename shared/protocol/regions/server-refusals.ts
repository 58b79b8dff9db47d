import type { RoundReply } from '../../contracts/round.ts';
import { limits } from '../../limits.ts';

/** The code of the error by which a server refuses commands that take memory. */
export const outOfMemory = 'OOM';

/** Errors in a row by which a region's server refused steps that other servers may carry out. */
export interface Refusals {
  /** Of the last of them, such as OOM. */
  readonly code: string;
  readonly reason: string;
  /** When the first and the last came, ms. */
  readonly since: number;
  readonly last: number;
}

/** The refusals of one region's server (rule R31), and whether it is out of memory. */
export class ServerRefusals {
  /** It is known to be out of memory: a copy would fail. */
  isFull = false;
  #inRow: Refusals | null = null;

  /** The refusals in a row, up to the present; null if there are none. */
  get inRow(): Refusals | null {
    return this.#inRow;
  }

  /** The server refused a step by an error of its own. Refusals that are far apart are not in a row. */
  add(code: string, reason: string, now: number): void {
    const known = this.#inRow;
    const isInRow = known !== null && now - known.last <= limits.refusalsApartMs;
    this.#inRow = { code, reason, since: isInRow ? known.since : now, last: now };
  }

  /** The refusals so far count as if the first came now. */
  countFrom(now: number): void {
    if (this.#inRow !== null) this.#inRow = { ...this.#inRow, since: now };
  }

  /** Ends the row of refusals if an executed round shows that the server accepts writes again. */
  update({ isFull, votes, decisions }: RoundReply): void {
    if (isFull !== null) this.isFull = isFull;
    if (this.#inRow === null) return;
    const hasWritten =
      votes.some(({ kind }) => kind === 'yes') ||
      (decisions.length > 0 && decisions.every((reply) => reply === 'acknowledged'));
    // Commands that take no memory go through in a region that is full.
    const isOver = this.#inRow.code === outOfMemory ? isFull === false : hasWritten;
    if (isOver) this.#inRow = null;
  }

  /** Forgets the refusals, but not whether the server is out of memory. */
  forget(): void {
    this.#inRow = null;
  }
}
