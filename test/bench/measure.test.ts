import { describe, expect, it } from 'vitest';
import { boundOf, drawTable, type Figure, isClose, isWithin, percentile } from './measure.ts';

const figure: Figure = { name: 'a ratio', value: 0.6, unit: 'ratio', limit: null, least: 0.5 };

describe('a percentile', () => {
  it('is a sample at or above the share of samples', () => {
    const samples = Array.from({ length: 100 }, (_, index) => 100 - index);
    expect([1, 50, 99, 100].map((percent) => percentile(samples, percent))).toEqual([
      1, 50, 99, 100,
    ]);
    expect(percentile([7], 50)).toBe(7);
    expect(percentile([], 50)).toBeNaN();
  });
});

describe('a figure with a minimum', () => {
  it('fails below it, and if it could not be measured', () => {
    expect(isWithin(figure)).toBe(true);
    expect(isWithin({ ...figure, value: 0.4 })).toBe(false);
    expect(isWithin({ ...figure, value: Number.NaN })).toBe(false);
    expect(boundOf(figure)).toBe('at least 0.500');
  });

  it('is close if single runs lie on both sides of its bound', () => {
    expect(isClose({ ...figure, spread: [0.4, 0.7] })).toBe(true);
    expect(isClose({ ...figure, spread: [0.55, 0.7] })).toBe(false);
    expect(drawTable([{ ...figure, spread: [0.4, 0.7] }])[0]).toContain('on both sides');
  });
});
