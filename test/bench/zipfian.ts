/** The popularity of records as YCSB has it. */

/** A source of numbers in [0, 1), which a seed repeats (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** The exponent that YCSB uses. */
const theta = 0.99;

/**
 * Draws numbers from 0 to `count` - 1, of which number `n` comes in proportion to 1 / (n + 1)^0.99: the generator of
 * Gray et al., "Quickly generating billion-record synthetic databases", which YCSB uses.
 */
export class Zipfian {
  private readonly count: number;
  private readonly random: () => number;
  private readonly zeta: number;
  private readonly eta: number;

  constructor(count: number, random: () => number) {
    this.count = count;
    this.random = random;
    this.zeta = zetaOf(count);
    this.eta = (1 - (2 / count) ** (1 - theta)) / (1 - zetaOf(2) / this.zeta);
  }

  next(): number {
    const drawn = this.random();
    const scaled = drawn * this.zeta;
    if (scaled < 1) return 0;
    if (scaled < 1 + 0.5 ** theta) return Math.min(1, this.count - 1);
    const number = Math.floor(this.count * (this.eta * drawn - this.eta + 1) ** (1 / (1 - theta)));
    return Math.min(this.count - 1, number);
  }
}

function zetaOf(count: number): number {
  let sum = 0;
  for (let number = 1; number <= count; number += 1) sum += 1 / number ** theta;
  return sum;
}
