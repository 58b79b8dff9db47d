/**
 * The clock of a coordinator (rule R18). It never goes back: after a machine whose clock was ahead, or when the clock
 * that it is read from is set back, it goes at half speed until that has caught up. It never stands still either, so
 * deadlines pass, and what a frame is given of time is worth something.
 */
export class Clock {
  /** The last reading that it was given, ms. */
  #given: number;
  /** ms, with fractions while it is ahead. */
  #now: number;

  /** `given` is the reading of now, `last` the last one that an earlier life has used, ms. */
  constructor(given: number, last: number) {
    this.#given = given;
    this.#now = Math.max(given, last);
  }

  /** ms. */
  get now(): number {
    return Math.floor(this.#now);
  }

  /** What it shows when the clock that it is read from shows `given`, ms. */
  read(given: number): number {
    const passed = Math.max(0, given - this.#given);
    this.#given = given;
    this.#now = Math.max(given, this.#now + passed / 2);
    return this.now;
  }

  /** What the clock that it is read from shows when this one has come to `moment`, ms. */
  whenGiven(moment: number): number {
    const wait = moment - this.#now;
    const ahead = this.#now - this.#given;
    return Math.ceil(this.#given + wait + Math.min(wait, ahead));
  }
}
