import { describe, expect, it } from 'vitest';
import type { Part } from '../../../shared/contracts/round.ts';
import { limits } from '../../../shared/limits.ts';
import {
  checked,
  commitOf,
  continuingOnError,
  del,
  executed,
  increment,
  outcomesOf,
  part,
  pop,
  prepareOf,
  read,
  rename,
  roundOf,
  set,
  write,
} from '../fixtures.ts';
import type { Implementation } from '../implementations.ts';

const wrongType = 'WRONGTYPE Operation against a key holding the wrong kind of value';

/** Claims about parts: their replies, and how they are undone. */
export function claimStaging(region: () => Implementation): void {
  const stage = async (keys: readonly string[], ...parts: readonly Part[]) => {
    const prepares = [prepareOf(1, keys, ...parts)];
    const reply = executed(await region().round(roundOf({ prepares })));
    return outcomesOf(reply.votes[0]);
  };
  const commit = async (...keys: readonly string[]) => {
    const decisions = [commitOf(1, keys)];
    const reply = executed(await region().round(roundOf({ decisions })));
    expect(reply.decisions).toEqual(['acknowledged']);
  };
  const value = (...args: readonly string[]) => region().run(...args);

  describe('a part', () => {
    it('reads the staged values of the parts before it', async () => {
      const parts = [part(increment('n')), part(increment('n')), part(read(['GET', 'n']))];
      expect(await stage(['n'], ...parts)).toBe('[[0,1],[0,2],[0,"2"]]');
      await commit('n');
      expect(await value('GET', 'n')).toBe('"2"');
    });

    it('is undone if its check fails, and the parts around it stand', async () => {
      const fails = checked({ kind: 'equals', key: 'n', value: '7' }, increment('n'));
      const outcomes = await stage(['n'], part(increment('n')), fails, part(increment('n')));
      expect(outcomes).toBe('[[0,1],[1,0,"1"],[0,2]]');
      await commit('n');
      expect(await value('GET', 'n')).toBe('"2"');
    });

    it('is undone as a whole if a later operation fails, even over shadows of earlier parts', async () => {
      await value('SET', 's', 'text');
      const broken = part(increment('n'), set('m', '1'), del('n'), write('HSET', 's', 'f', '1'));
      const outcomes = await stage(
        ['n', 'm', 's'],
        part(increment('n')),
        broken,
        part(increment('n')),
      );
      expect(outcomes).toBe(`[[0,1],[2,3,"${wrongType}"],[0,2]]`);
      await commit('n', 'm', 's');
      expect(await value('GET', 'n')).toBe('"2"');
      expect(await value('EXISTS', 'm')).toBe('0');
      expect(await value('GET', 's')).toBe('"text"');
    });

    it('restores an inline value that it read and changed, if it is undone', async () => {
      const broken = part(write('APPEND', 'n', 'x'), write('HSET', 'n', 'f', '1'));
      const outcomes = await stage(['n'], part(set('n', 'a')), broken, part(read(['GET', 'n'])));
      expect(outcomes).toBe(`[[0,{"s":"OK"}],[2,1,"${wrongType}"],[0,"a"]]`);
      await commit('n');
      expect(await value('GET', 'n')).toBe('"a"');
    });

    it('restores an inline value that it replaced, if it is undone', async () => {
      const broken = part(set('n', 'b'), write('INCRBY', 'n', 'x'));
      const notInteger = 'ERR value is not an integer or out of range';
      const outcomes = await stage(['n'], part(set('n', 'a')), broken);
      expect(outcomes).toBe(`[[0,{"s":"OK"}],[2,1,"${notInteger}"]]`);
      await commit('n');
      expect(await value('GET', 'n')).toBe('"a"');
    });

    it('leaves no value that it made for the parts after it, if it is undone', async () => {
      const broken = part(increment('n'), write('HSET', 'n', 'f', '1'));
      const outcomes = await stage(['n'], broken, part(increment('n')));
      expect(outcomes).toBe(`[[2,1,"${wrongType}"],[0,1]]`);
    });

    it('restores a key that an earlier part renamed as absent, if it is undone', async () => {
      await value('SET', 'a', '1');
      const broken = part(increment('a'), write('HSET', 'a', 'f', '1'));
      const parts = [part(rename('a', 'b')), broken, part(read(['EXISTS', 'a']))];
      expect(await stage(['a', 'b'], ...parts)).toBe(`[[0,{"s":"OK"}],[2,1,"${wrongType}"],[0,0]]`);
      await commit('a', 'b');
      expect(await value('EXISTS', 'a')).toBe('0');
    });

    it('restores a key that it deleted and removes a key that it made, if it is undone', async () => {
      await value('SET', 'old', '1');
      const broken = part(del('old'), set('new', '1'), write('INCRBY', 'new', 'x'));
      const outcomes = await stage(['old', 'new'], broken);
      expect(outcomes).toBe('[[2,2,"ERR value is not an integer or out of range"]]');
      await commit('old', 'new');
      expect(await value('GET', 'old')).toBe('"1"');
      expect(await value('EXISTS', 'new')).toBe('0');
    });

    it('restores a key that an earlier part deleted as deleted, if it is undone', async () => {
      await value('SET', 'k', '1');
      const broken = part(write('APPEND', 'k', 'x'), write('HSET', 'k', 'f', '1'));
      const outcomes = await stage(['k'], part(del('k')), broken, part(read(['EXISTS', 'k'])));
      expect(outcomes).toBe(`[[0,1],[2,1,"${wrongType}"],[0,0]]`);
      await commit('k');
      expect(await value('EXISTS', 'k')).toBe('0');
    });

    it('votes yes and takes its locks even if every part fails', async () => {
      const fails = checked({ kind: 'exists', key: 'k' }, set('k', '1'));
      expect(await stage(['k'], fails, fails)).toBe('[[1,0,null],[1,0,null]]');
      const second = prepareOf(2, ['k'], part(set('k', '2')));
      const reply = executed(await region().round(roundOf({ prepares: [second] })));
      expect(reply.votes[0]).toMatchObject({ kind: 'locked' });
      await commit('k');
      expect(await value('EXISTS', 'k')).toBe('0');
    });
  });

  describe('a part that continues on errors', () => {
    it('returns the error of a failed operation in its place, and the other operations stand', async () => {
      await value('SET', 's', 'text');
      const operations = [increment('n'), write('HSET', 's', 'f', '1'), increment('s')];
      const mixed = continuingOnError(
        part(...operations, write('APPEND', 's', '!'), increment('n')),
      );
      const notInteger = 'ERR value is not an integer or out of range';
      expect(await stage(['n', 's'], mixed)).toBe(
        `[[0,1,{"e":"${wrongType}"},{"e":"${notInteger}"},5,2]]`,
      );
      await commit('n', 's');
      expect(await value('GET', 'n')).toBe('"2"');
      expect(await value('GET', 's')).toBe('"text!"');
    });

    it('leaves the keys of a failed operation absent or unchanged', async () => {
      await value('SET', 's', 'text');
      const failing = [rename('none', 's'), write('HSET', 's', 'f', '1'), pop('s', '', 1)];
      const outcomes = await stage(['none', 's'], continuingOnError(part(...failing)));
      expect(outcomes).toBe(
        `[[0,{"e":"ERR no such key"},{"e":"${wrongType}"},{"e":"${wrongType}"}]]`,
      );
      await commit('none', 's');
      expect(await value('EXISTS', 'none')).toBe('0');
      expect(await value('GET', 's')).toBe('"text"');
    });

    it('is undone as a whole if its check fails', async () => {
      const fails = continuingOnError(checked({ kind: 'exists', key: 'n' }, increment('n')));
      expect(await stage(['n'], fails, part(increment('n')))).toBe('[[1,0,null],[0,1]]');
    });

    it('is undone as a whole if its replies are too large', async () => {
      await value('SET', 'big', 'x'.repeat(limits.outcomeBytes / 2));
      const reads = [read(['GET', 'big']), read(['GET', 'big']), increment('big')];
      const outcomes = await stage(['n', 'big'], continuingOnError(part(increment('n'), ...reads)));
      expect(JSON.parse(outcomes)).toEqual([[2, 3, expect.stringContaining('too large')]]);
      await commit('n', 'big');
      expect(await value('EXISTS', 'n')).toBe('0');
    });
  });

  describe('a check', () => {
    it('compares values, and returns the value that failed it', async () => {
      await value('SET', 's', 'v');
      await value('HSET', 'h', 'f', '1');
      const checks = [
        checked({ kind: 'absent', key: 's' }),
        checked({ kind: 'absent', key: 'h' }),
        checked({ kind: 'absent', key: 'none' }),
        checked({ kind: 'exists', key: 's' }),
        checked({ kind: 'exists', key: 'none' }),
        checked({ kind: 'equals', key: 's', value: 'v' }),
        checked({ kind: 'equals', key: 's', value: 'w' }),
        checked({ kind: 'equals', key: 'h', value: 'w' }),
        checked({ kind: 'equals', key: 'none', value: '' }),
      ];
      expect(await stage(['s', 'h', 'none'], ...checks)).toBe(
        '[[1,0,"string"],[1,0,"hash"],[0],[0],[1,0,null],[0],[1,0,"v"],[1,0,"hash"],[1,0,null]]',
      );
    });

    it('compares types and fields', async () => {
      await value('SET', 's', 'v');
      await value('HSET', 'h', 'f', '1');
      const checks = [
        checked({ kind: 'type', key: 's', type: 'string' }),
        checked({ kind: 'type', key: 's', type: 'list' }),
        checked({ kind: 'type', key: 'none', type: 'list' }),
        checked({ kind: 'field', key: 'h', field: 'f', value: '1' }),
        checked({ kind: 'field', key: 'h', field: 'f', value: '2' }),
        checked({ kind: 'field', key: 'h', field: 'g', value: '' }),
        checked({ kind: 'field', key: 's', field: 'f', value: '1' }),
        checked({ kind: 'field', key: 'none', field: 'f', value: '1' }),
      ];
      expect(await stage(['s', 'h', 'none'], ...checks)).toBe(
        '[[0],[1,0,"string"],[1,0,null],[0],[1,0,"1"],[1,0,null],[1,0,"string"],[1,0,null]]',
      );
    });

    it('compares the values that earlier parts staged: inline, changed, deleted', async () => {
      await value('SET', 'gone', '1');
      const parts = [
        part(set('a', 'x'), increment('n'), del('gone')),
        checked({ kind: 'equals', key: 'a', value: 'x' }),
        checked({ kind: 'equals', key: 'n', value: '1' }),
        checked({ kind: 'absent', key: 'gone' }),
      ];
      expect(await stage(['a', 'n', 'gone'], ...parts)).toBe('[[0,{"s":"OK"},1,1],[0],[0],[0]]');
    });
  });

  describe('an operation', () => {
    it('renames over several keys, and fails if the source is absent', async () => {
      await value('SET', 'a', '1');
      await value('SET', 'b', '2');
      const parts = [part(rename('a', 'b')), part(rename('a', 'c'))];
      expect(await stage(['a', 'b', 'c'], ...parts)).toBe(
        '[[0,{"s":"OK"}],[2,0,"ERR no such key"]]',
      );
      await commit('a', 'b', 'c');
      expect(await value('EXISTS', 'a')).toBe('0');
      expect(await value('GET', 'b')).toBe('"1"');
      expect(await value('EXISTS', 'c')).toBe('0');
    });

    it('counts each key that it deletes once', async () => {
      await value('SET', 'a', '1');
      const parts = [part(set('b', '1'), increment('n'), del('a', 'b', 'n', 'none', 'a'))];
      expect(await stage(['a', 'b', 'n', 'none'], ...parts)).toBe('[[0,{"s":"OK"},1,3]]');
      await commit('a', 'b', 'n', 'none');
      expect(await value('EXISTS', 'a')).toBe('0');
      expect(await value('EXISTS', 'n')).toBe('0');
    });

    it('makes and deletes a key that was absent, and leaves it absent', async () => {
      expect(await stage(['k'], part(increment('k'), del('k')))).toBe('[[0,1,1]]');
      await commit('k');
      expect(await value('EXISTS', 'k')).toBe('0');
    });

    it('sets over a staged value of another type', async () => {
      const parts = [part(write('LPUSH', 'k', 'x')), part(set('k', 'text')), part(increment('k'))];
      const notInteger = 'ERR value is not an integer or out of range';
      expect(await stage(['k'], ...parts)).toBe(`[[0,1],[0,{"s":"OK"}],[2,0,"${notInteger}"]]`);
      await commit('k');
      expect(await value('GET', 'k')).toBe('"text"');
    });

    it('keeps every digit of an integer beyond 2^53', async () => {
      await value('SET', 'n', '9007199254740992');
      await value('SET', 'min', '-9223372036854775807');
      const decrement = { ...write('INCRBY', 'min', '-1'), reply: 'exact' as const };
      const field = {
        ...write('HINCRBY', 'h', 'f', '9007199254740993'),
        reply: 'exact-field' as const,
      };
      const outcomes = await stage(['n', 'min', 'h'], part(increment('n'), decrement, field));
      expect(outcomes).toBe('[[0,9007199254740993,-9223372036854775808,9007199254740993]]');
      await commit('n', 'min', 'h');
      expect(await value('GET', 'n')).toBe('"9007199254740993"');
    });

    it('sorts members and pairs by bytes', async () => {
      await value('SADD', 's', 'b', 'a', 'B', 'é', 'aa', '', 'z', '_');
      await value('HSET', 'h', 'b', '1', 'a', '2', 'é', '3', 'Z', '4');
      const reads = [read(['SMEMBERS', 's'], 'members'), read(['HGETALL', 'h'], 'pairs')];
      expect(await stage(['s', 'h'], part(...reads))).toBe(
        '[[0,["","B","_","a","aa","b","z","\\u00c3\\u00a9"],' +
          '["Z","4","a","2","b","1","\\u00c3\\u00a9","3"]]]',
      );
    });

    it('draws the same members from the same seed everywhere, and removes them', async () => {
      await value('SADD', 's', ...Array.from({ length: 20 }, (_, index) => `m${index}`));
      const operations = [
        pop('s', '', 1),
        pop('s', '3', 12345),
        pop('s', '0', 9),
        pop('none', '', 2),
      ];
      const outcomes = await stage(['s', 'none'], part(...operations, pop('none', '2', 2)));
      expect(outcomes).toBe('[[0,"m13",["m9","m4","m19"],[],null,[]]]');
      await commit('s', 'none');
      const left = await value('SMEMBERS', 's');
      expect(JSON.parse(left)).toHaveLength(16);
    });

    it('pops a set empty, and fails on another type', async () => {
      await value('SADD', 's', 'a', 'b');
      await value('SET', 'text', '1');
      const parts = [part(pop('s', '9', 4)), part(pop('text', '', 4)), part(pop('s', '-1', 4))];
      const outcomes = await stage(['s', 'text'], ...parts);
      expect(outcomes).toContain(`[2,0,"${wrongType}"],[2,0,"ERR value is out of range`);
      await commit('s', 'text');
      expect(await value('EXISTS', 's')).toBe('0');
      expect(await value('GET', 'text')).toBe('"1"');
    });
  });

  describe('a value', () => {
    const odd = [
      '',
      '\0',
      'a\0|b|c',
      '"\\\n\r\t/',
      '😀é',
      '__proto__',
      '\u007f\u0080ÿ',
      'x'.repeat(10_000),
    ];

    it('passes through inline and shadow unchanged, byte by byte, under any key', async () => {
      const keys = odd.map((text) => text.slice(0, 50));
      const sets = odd.map((text, index) => set(keys[index] ?? '', text));
      const appends = odd.map((text, index) => write('APPEND', keys[index] ?? '', text));
      const before = await stage(keys, part(...sets));
      expect(before.match(/OK/g)).toHaveLength(odd.length);
      await commit(...keys);
      for (const [index, text] of odd.entries()) {
        expect(await textOf(value('GET', keys[index] ?? ''))).toBe(text);
      }
      const again = [{ ...prepareOf(2, keys, part(...appends)) }];
      await region().round(roundOf({ prepares: again }));
      await region().round(roundOf({ decisions: [commitOf(2, keys)] }));
      for (const [index, text] of odd.entries()) {
        expect(await textOf(value('GET', keys[index] ?? ''))).toBe(text + text);
      }
    });

    it('is returned in outcomes with one character per byte', async () => {
      const parts = odd.map((text, index) =>
        part(set(`k${index}`, text), read(['GET', `k${index}`])),
      );
      const keys = odd.map((_, index) => `k${index}`);
      const outcomes: unknown = JSON.parse(await stage(keys, ...parts));
      const expected = odd.map((text) => [0, { s: 'OK' }, Buffer.from(text).toString('latin1')]);
      expect(outcomes).toEqual(expected);
    });

    it('fails and undoes only the part whose replies exceed the limit', async () => {
      const half = 'x'.repeat(limits.outcomeBytes / 2);
      await region().run('SET', 'big', half);
      const reads = part(set('k', '1'), read(['GET', 'big']), read(['GET', 'big']));
      const outcomes = await stage(['k', 'big'], reads, part(read(['GET', 'big'])));
      const [first, second] = JSON.parse(outcomes);
      const bound = `the limit is ${limits.outcomeBytes} bytes`;
      expect(first).toEqual([2, 2, expect.stringMatching(new RegExp(`${bound}.*GETRANGE.*DEL`))]);
      expect(second).toEqual([0, half]);
      await commit('k', 'big');
      expect(await value('EXISTS', 'k')).toBe('0');
    });

    it('undoes a part of a single operation whose reply exceeds the limit', async () => {
      const large = 'x'.repeat(limits.outcomeBytes);
      await region().run('SADD', 's', large, '1');
      const outcomes = await stage(['s'], part(pop('s', '2', 1)), part(read(['EXISTS', 's'])));
      expect(JSON.parse(outcomes)).toEqual([
        [2, 0, expect.stringContaining('too large')],
        [0, 1],
      ]);
      await commit('s');
      expect(JSON.parse(await value('SMEMBERS', 's'))).toHaveLength(2);
    });

    it('refuses a vote with the number of parts that fit, if a part after the first does not', async () => {
      const half = 'x'.repeat(limits.outcomeBytes / 2);
      await region().run('SET', 'big', half);
      const take = part(read(['GET', 'big']));
      const parts = [part(increment('n')), take, take, part(increment('n'))];
      const prepares = [prepareOf(1, ['n', 'big'], ...parts)];
      const { votes } = executed(await region().round(roundOf({ prepares })));
      expect(votes).toEqual([
        { kind: 'refused', reason: expect.stringContaining('no room'), most: 2 },
      ]);
      // It left nothing behind: the parts that fit can be staged.
      const outcomes = await stage(['n', 'big'], ...parts.slice(0, 2));
      expect(outcomes).toBe(`[[0,1],[0,"${half}"]]`);
    });

    it('waits for another round if the votes of its round are too large together', async () => {
      const size = 600_000;
      const count = Math.ceil(limits.roundOutcomeBytes / size) + 3;
      const keys = Array.from({ length: count }, (_, at) => `key ${at}`);
      for (const key of keys) await region().run('SET', key, 'x'.repeat(size));
      const prepares = keys.map((key, at) => prepareOf(at + 1, [key], part(read(['GET', key]))));
      const { votes } = executed(await region().round(roundOf({ prepares })));
      const kinds = votes.map(({ kind }) => kind);
      expect(kinds.slice(0, -3)).toEqual(Array.from({ length: count - 3 }, () => 'yes'));
      expect(kinds.slice(-3)).toEqual(['refused', 'refused', 'refused']);
    });

    it('returns only the beginning of a long value that fails a check', async () => {
      await region().run('SET', 'big', 'x'.repeat(2_000));
      const check = checked({ kind: 'equals', key: 'big', value: 'y' });
      expect(await stage(['big'], check)).toBe(`[[1,0,"${'x'.repeat(1_000)}"]]`);
    });
  });
}

async function textOf(reply: Promise<string>): Promise<string> {
  const bytes: unknown = JSON.parse(await reply);
  return Buffer.from(String(bytes), 'latin1').toString('utf8');
}
