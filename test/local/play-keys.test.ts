/** Tests the keys of the playground. play.test.ts tests their effects. */
import { describe, expect, it } from 'vitest';
import { actionsOf, keyHelp } from '../../local/playground/keys.ts';

const controlC = '\u0003';
const arrowUp = '\u001b[A';

describe('a key', () => {
  it.each([
    ['s', 'stop-or-start'],
    ['k', 'kill'],
    ['r', 'restart'],
    ['w', 'wipe'],
    ['b', 'snapshot'],
    ['o', 'roll-back'],
    ['l', 'slow-down'],
    ['c', 'cut-off'],
    ['a', 'lose-answers'],
    ['p', 'pause'],
  ])('%s is an action on a region: %s', (key, regionAction) => {
    expect(actionsOf(key, 3)).toEqual([{ kind: 'region', regionAction }]);
  });

  it.each([
    ['g', 'write'],
    ['?', 'help'],
    ['q', 'quit'],
    [controlC, 'quit'],
  ])('%j is an action of its own: %s', (key, kind) => {
    expect(actionsOf(key, 3)).toEqual([{ kind }]);
  });

  it('that is a number chooses the region of that number, if there is one', () => {
    expect(actionsOf('1', 3)).toEqual([{ kind: 'choose', index: 0 }]);
    expect(actionsOf('3', 3)).toEqual([{ kind: 'choose', index: 2 }]);
    expect(actionsOf('4', 3)).toEqual([]);
    expect(actionsOf('0', 3)).toEqual([]);
  });

  it.each(['x', 'S', ' ', '\n', '\u0004', 'é', arrowUp, ''])(
    'without a meaning, %j, does nothing',
    (key) => {
      expect(actionsOf(key, 5)).toEqual([]);
    },
  );

  it('pressed soon after another one is not lost', () => {
    expect(actionsOf('2xk', 3)).toEqual([
      { kind: 'choose', index: 1 },
      { kind: 'region', regionAction: 'kill' },
    ]);
  });
});

describe('the list of keys', () => {
  it('has every key with an action, once', () => {
    const [numbers, ...others] = keyHelp(3).map((line) => line.trim().split(/ +/)[0] ?? '');
    expect(numbers).toBe('1-3');
    expect(new Set(others).size).toBe(others.length);
    const printable = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index));
    const acting = printable.filter((key) => /\D/.test(key) && actionsOf(key, 3).length > 0);
    expect(others.toSorted()).toEqual(acting.toSorted());
  });

  it('names a single region by its number alone', () => {
    expect(keyHelp(1)[0]?.trim().split(' ')[0]).toBe('1');
  });
});
