/**
 * The clock of a coordinator (rule R18). It never goes back: after a machine whose clock was ahead, or when its source
 * clock is set back, it goes at half speed until the source has caught up. It never stands still either, so deadlines
 * pass, and the time that a frame is given keeps its worth.
 */
export class Clock {
  /** The last reading of the source clock, ms. */
  #given: number;
  /** ms, with fractions while it is ahead. */
  #now: number;

  /** `given` is the present reading of the source clock, `last` the last reading that an earlier life has used, ms. */
  constructor(given: number, last: number) {
    this.#given = given;
    this.#now = Math.max(given, last);
  }

  /** ms. */
  get now(): number {
    return Math.floor(this.#now);
  }

  /** The reading of this clock when the source clock reads `given`, ms. */
  read(given: number): number {
    const passed = Math.max(0, given - this.#given);
    this.#given = given;
    this.#now = Math.max(given, this.#now + passed / 2);
    return this.now;
  }

  /** It is not before `moment` from now on, ms. */
  raise(moment: number): void {
    this.#now = Math.max(this.#now, moment);
  }

  /** The reading of the source clock when this one has come to `moment`, ms. */
  whenGiven(moment: number): number {
    const wait = moment - this.#now;
    const ahead = this.#now - this.#given;
    return Math.ceil(this.#given + wait + Math.min(wait, ahead));
  }
}
