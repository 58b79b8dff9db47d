import { describe, expect, it } from 'vitest';
import { randomFrom, Zipfian } from './zipfian.ts';

describe('a zipfian source', () => {
  const count = 100;
  const draws = 200_000;

  /** The number of times that each number is drawn. */
  function drawn(seed: number): readonly number[] {
    const zipfian = new Zipfian(count, randomFrom(seed));
    const counts = Array.from({ length: count }, () => 0);
    for (let draw = 0; draw < draws; draw += 1) {
      const number = zipfian.next();
      counts[number] = (counts[number] ?? 0) + 1;
    }
    return counts;
  }

  it('draws the first number and the tail in the proportion of their ranks', () => {
    const counts = drawn(1);
    const weights = counts.map((_, number) => 1 / (number + 1) ** 0.99);
    const sum = weights.reduce((total, weight) => total + weight, 0);
    expect(counts[0]).toBeGreaterThan(((draws * (weights[0] ?? 0)) / sum) * 0.95);
    expect(counts[0]).toBeLessThan(((draws * (weights[0] ?? 0)) / sum) * 1.05);
    const tail = (values: readonly number[]) =>
      values.slice(count / 2).reduce((total, value) => total + value, 0);
    expect(tail(counts) / draws).toBeGreaterThan((tail(weights) / sum) * 0.9);
    expect(tail(counts) / draws).toBeLessThan((tail(weights) / sum) * 1.1);
  });

  it('stays within its numbers, and repeats itself by its seed', () => {
    const counts = drawn(2);
    expect(counts.length).toBe(count);
    expect(counts.reduce((total, value) => total + value, 0)).toBe(draws);
    expect(drawn(2)).toEqual(counts);
    expect(drawn(3)).not.toEqual(counts);
  });

  it('draws 0 alone if there is one number', () => {
    const zipfian = new Zipfian(1, randomFrom(4));
    expect(Array.from({ length: 100 }, () => zipfian.next()).every((number) => number === 0)).toBe(
      true,
    );
  });
});
