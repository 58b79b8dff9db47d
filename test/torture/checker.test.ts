/** Plants each kind of fault in a good history, and expects the checker to name it. */
import { describe, expect, it } from 'vitest';
import { violationsIn } from './checker.ts';
import { isJournal, keysWrittenBy, namesIn, type SentCommand } from './commands.ts';
import { type Draft, GoodHistory, regions } from './good-history.ts';
import type { FollowedChange, KeyText, TortureRead, TortureWrite, Violation } from './history.ts';

const seed = 7;

function good(of = seed): Draft {
  return new GoodHistory(of).make(600);
}

/** The promises that a history breaks. */
function brokenIn(history: Draft): ReadonlySet<Violation['promise']> {
  return new Set(violationsIn(history).map(({ promise }) => promise));
}

function found<Item>(items: readonly Item[], matches: (item: Item) => boolean): Item {
  const item = items.findLast(matches);
  if (item === undefined) throw new Error('the good history has nothing to plant this fault in');
  return item;
}

function replace<Item>(items: Item[], item: Item, by: Item): void {
  items[items.indexOf(item)] = by;
}

function journalsOf({ commands }: TortureWrite): readonly string[] {
  return [...new Set(commands.flatMap(keysWrittenBy))].filter(isJournal);
}

/** Changes the text of a key at the end, in every region or in one. */
function setFinal(
  history: Draft,
  key: string,
  change: (text: KeyText) => KeyText,
  only: readonly string[] = regions,
): void {
  const finals = [...history.finals].map(([region, texts]) => {
    const changed = new Map(texts);
    if (only.includes(region)) changed.set(key, change(texts.get(key) ?? null));
    return [region, changed] as const;
  });
  history.finals = new Map(finals);
}

function without(text: KeyText, name: string): KeyText {
  return namesIn(text)
    .filter((each) => each !== name)
    .map((each) => `${each};`)
    .join('');
}

function withValue(read: TortureRead, key: string, text: KeyText): TortureRead {
  const values = read.values.map(([each, before]) => [each, each === key ? text : before] as const);
  return { ...read, values };
}

function isCommitted({ outcome }: TortureWrite): boolean {
  return outcome === 'committed';
}

/** A read with a journal whose last write ended before the read began. */
function readAfterWrite(history: Draft, consistency: TortureRead['consistency']) {
  const writes = new Map(history.writes.map((write) => [write.name, write]));
  for (const read of history.reads.toReversed()) {
    // A read of several keys would also show a part of the write.
    if (read.consistency !== consistency || read.values.length > 1) continue;
    for (const [key, text] of read.values) {
      const last = writes.get(namesIn(isJournal(key) ? text : null).at(-1) ?? '');
      if (last?.endedAt === null || last === undefined || last.endedAt >= read.startedAt) continue;
      if (key.endsWith(':text')) return { read, key, last, old: without(text, last.name) };
    }
  }
  throw new Error('no read of the good history follows a write');
}

describe('a history without a fault', () => {
  it('of several shards has no violation', () => {
    for (let each = 1; each <= 30; each += 1) expect(violationsIn(good(each))).toEqual([]);
  });
});

const plants: Readonly<
  Record<
    string,
    { readonly breaks: Violation['promise']; readonly plant: (history: Draft) => void }
  >
> = {
  'a strong read that lacks an acknowledged write': {
    breaks: 'one order',
    plant(history) {
      const { read, key, old } = readAfterWrite(history, 'strong');
      replace(history.reads, read, withValue(read, key, old));
    },
  },
  'a strong read that saw a write before it began': {
    breaks: 'one order',
    plant(history) {
      const { read, last } = readAfterWrite(history, 'strong');
      const later = { startedAt: read.endedAt + 1, endedAt: read.endedAt + 2 };
      replace(history.writes, last, { ...last, ...later });
    },
  },
  'two strong reads that go back': {
    breaks: 'one order',
    plant(history) {
      const { read, key, old } = readAfterWrite(history, 'strong');
      const later = { startedAt: read.endedAt + 1, endedAt: read.endedAt + 2 };
      history.reads.push({ ...withValue(read, key, old), ...later });
    },
  },
  'a counter that was read too low': {
    breaks: 'one order',
    plant(history) {
      const key = '{0.c0}:count';
      const first = history.writes.find(
        (write) => isCommitted(write) && write.commands.some(([, each]) => each === key),
      );
      const at = (first?.endedAt ?? 0) + 1;
      const by = { region: 'here', via: 'lease', startedAt: at, endedAt: at + 1 };
      history.reads.push({ kind: 'read', consistency: 'strong', ...by, values: [[key, null]] });
    },
  },
  'a rejection by a value that was gone': {
    breaks: 'one order',
    plant(history) {
      const { read, key, old } = readAfterWrite(history, 'strong');
      const [write] = history.writes;
      if (write === undefined) return;
      const { startedAt, endedAt } = read;
      const check = { key, equals: 'w0.0;' };
      const base = { ...write, name: 'w9.1', commands: [], receipts: [], check };
      history.writes.push({ ...base, startedAt, endedAt, outcome: 'rejected', actual: old });
    },
  },
  'an acknowledged write that is in no region': {
    breaks: 'no write is lost',
    plant(history) {
      const lost = found(
        history.writes,
        (write) => isCommitted(write) && journalsOf(write).length > 0,
      );
      for (const key of journalsOf(lost))
        setFinal(history, key, (text) => without(text, lost.name));
    },
  },
  'an acknowledged increment that is in no region': {
    breaks: 'no write is lost',
    plant(history) {
      setFinal(history, '{0.c1}:count', () => '3');
    },
  },
  'a write that was applied twice': {
    breaks: 'once',
    plant(history) {
      setFinal(history, '{0.t0}:text', (text) => `${text}${namesIn(text).at(-1)};`);
    },
  },
  'an increment that was applied twice': {
    breaks: 'once',
    plant(history) {
      setFinal(history, '{0.c0}:count', (text) => String(Number(text) + 100));
    },
  },
  'two increments with one result': {
    breaks: 'one order',
    plant(history) {
      const isAlone = (write: TortureWrite) =>
        isCommitted(write) &&
        write.commands.every(([name, key]) => name === 'INCR' && key === '{0.c0}:count');
      const [one, other] = history.writes.filter(isAlone);
      if (one === undefined || other === undefined) throw new Error('there are increments');
      replace(history.writes, other, { ...other, receipts: one.receipts });
    },
  },
  'a write that is in one of its keys only': {
    breaks: 'all or none',
    plant(history) {
      const whole = found(
        history.writes,
        (write) => write.outcome === 'committed' && journalsOf(write).length > 1,
      );
      const [key = ''] = journalsOf(whole);
      const unknown = { outcome: 'unknown', receipts: [], endedAt: null } as const;
      replace(history.writes, whole, { ...whole, ...unknown });
      setFinal(history, key, (text) => without(text, whole.name));
    },
  },
  'a refused write that was applied': {
    breaks: 'only committed',
    plant(history) {
      const write = found(
        history.writes,
        (each) => isCommitted(each) && journalsOf(each).length > 0,
      );
      replace(history.writes, write, { ...write, outcome: 'refused', receipts: [] });
    },
  },
  'a value that nobody wrote': {
    breaks: 'only committed',
    plant(history) {
      setFinal(history, '{0.t0}:text', (text) => `${text}w8.8;`);
    },
  },
  'a plain read of a write that was never decided': {
    breaks: 'only committed',
    plant(history) {
      const read = found(
        history.reads,
        ({ consistency, values }) =>
          consistency === 'plain' && values[0]?.[0].endsWith(':text') === true,
      );
      const [[key, text] = ['', null]] = read.values;
      replace(history.reads, read, withValue(read, key, `${text ?? ''}w7.7;`));
    },
  },
  'a plain read of a write in one of two keys': { breaks: 'all or none', plant: plantHalf },
  'a plain read of a balance beside an older journal': {
    breaks: 'all or none',
    plant(history) {
      const read = found(
        history.reads,
        ({ consistency, values }) =>
          consistency === 'plain' && values.some(([key]) => key.endsWith(':balance')),
      );
      const [key = ''] = read.values.flatMap(([each]) => (each.endsWith(':balance') ? [each] : []));
      replace(history.reads, read, withValue(read, key, '-987'));
    },
  },
  'a result that no order gives': {
    breaks: 'results',
    plant(history) {
      const write = found(
        history.writes,
        (each) => isCommitted(each) && each.commands[0]?.[0] === 'EVAL',
      );
      const [receipt] = write.receipts;
      if (receipt === undefined) return;
      const receipts = [{ ...receipt, results: [[1, 2, 3]] }];
      replace(history.writes, write, { ...write, receipts });
    },
  },
  'a committed write whose check did not hold': {
    breaks: 'results',
    plant(history) {
      const write = found(
        history.writes,
        (each) => isCommitted(each) && each.commands[0]?.[0] === 'APPEND',
      );
      const check = { key: write.commands[0]?.[1] ?? '', equals: 'w0.0;' };
      replace(history.writes, write, { ...write, check });
    },
  },
  'a repetition with another answer': {
    breaks: 'same answer',
    plant(history) {
      const write = found(history.writes, isCommitted);
      const [receipt] = write.receipts;
      if (receipt === undefined) return;
      const receipts = [receipt, { ...receipt, at: receipt.at + 5, id: 'another' }];
      replace(history.writes, write, { ...write, receipts });
    },
  },
  'regions that differ in the end': {
    breaks: 'regions are equal',
    plant(history) {
      setFinal(history, '{0.a0}:last', () => 'w0.0', ['there']);
    },
  },
  'a follower that lacks a change': {
    breaks: 'feed',
    plant: (history) => changeFeed(history, (changes) => changes.toSpliced(20, 1)),
  },
  'a follower that got a change twice': {
    breaks: 'feed',
    plant: (history) => changeFeed(history, (changes) => [...changes, ...changes.slice(-1)]),
  },
  'a follower that got two writes of a key in the wrong order': {
    breaks: 'feed',
    plant: (history) =>
      changeFeed(history, (changes) => {
        const at = changes.findIndex((change, index) => sharesKey(change, changes[index + 1]));
        // The sequences stay in order, so that only the key shows it.
        return swapped(changes, at, (change, place) => ({
          ...change,
          sequence: place.sequence,
          transaction: place.transaction,
        }));
      }),
  },
  'a follower that got a shard’s sequences in the wrong order': {
    breaks: 'feed',
    plant: (history) =>
      changeFeed(history, (changes) => {
        const shardOf = ({ transaction }: FollowedChange) => transaction.split('.')[0];
        const at = changes.findIndex((change, index) => {
          const next = changes[index + 1];
          return (
            next !== undefined && !sharesKey(change, next) && shardOf(change) === shardOf(next)
          );
        });
        return swapped(changes, at, (change) => change);
      }),
  },
  'a follower that got another sequence than the writer': {
    breaks: 'feed',
    plant: (history) =>
      changeFeed(history, (changes) =>
        changes.map((change) => ({ ...change, sequence: change.sequence + 1 })),
      ),
  },
  'a register that went back': {
    breaks: 'one order',
    plant(history) {
      const key = '{0.r0}:register';
      const first = history.writes.find(
        (write) => isCommitted(write) && write.commands.some(([, each]) => each === key),
      );
      if (first === undefined) throw new Error('there are writes');
      const at = history.finalAt - 100;
      const by = { region: 'here', via: 'lease', startedAt: at, endedAt: at + 1 };
      const values = [[key, first.name]] as const;
      history.reads.push({ kind: 'read', consistency: 'strong', ...by, values });
    },
  },
  'a register with a value that nobody wrote': {
    breaks: 'only committed',
    plant(history) {
      setFinal(history, '{0.r0}:register', () => 'w5.5');
    },
  },
  'a lock that is left': {
    breaks: 'free after faults',
    plant(history) {
      history.complaints = ['a lock is left'];
    },
  },
};

/** Takes the newest write out of one of the two journals in which a plain read saw it. */
function plantHalf(history: Draft): void {
  const writes = new Map(history.writes.map((write) => [write.name, write]));
  for (const read of history.reads) {
    if (read.consistency !== 'plain') continue;
    for (const [key, text] of read.values) {
      if (!key.endsWith(':text')) continue;
      const name = namesIn(text).at(-1) ?? '';
      const write = writes.get(name);
      const others = read.values.filter(
        ([other, seen]) =>
          other !== key && isJournal(other) && namesIn(seen).includes(name) && write !== undefined,
      );
      if (others.length === 0) continue;
      replace(history.reads, read, withValue(read, key, without(text, name)));
      return;
    }
  }
  throw new Error('no plain read of the good history saw a write in two journals');
}

function changeFeed(
  history: Draft,
  change: (changes: readonly FollowedChange[]) => readonly FollowedChange[],
): void {
  const [first = [], ...others] = history.followers;
  history.followers = [change(first), ...others];
}

function sharesKey(one: FollowedChange, other: FollowedChange | undefined): boolean {
  return other !== undefined && one.keys.some((key) => isJournal(key) && other.keys.includes(key));
}

function swapped(
  changes: readonly FollowedChange[],
  at: number,
  fitted: (change: FollowedChange, place: FollowedChange) => FollowedChange,
): readonly FollowedChange[] {
  const [one, other] = [changes[at], changes[at + 1]];
  if (one === undefined || other === undefined) throw new Error('there is nothing to swap');
  return changes.toSpliced(at, 2, fitted(other, one), fitted(one, other));
}

describe('the checker', () => {
  it.each(Object.entries(plants))('names %s', (_, { breaks, plant }) => {
    const history = good();
    plant(history);
    expect(brokenIn(history)).toContain(breaks);
  });

  it('finds a circle that no key and no time shows alone', () => {
    const write = (name: string, key: string): TortureWrite => {
      const commands: readonly SentCommand[] = [['APPEND', key, `${name};`]];
      const base = { kind: 'write', name, commands, check: null, isKeyed: false } as const;
      const unknown = { outcome: 'unknown', receipts: [], actual: null } as const;
      return { ...base, ...unknown, startedAt: 0, endedAt: null };
    };
    const read = (one: KeyText, other: KeyText): TortureRead => ({
      kind: 'read',
      consistency: 'strong',
      region: 'here',
      via: 'lease',
      startedAt: 0,
      endedAt: 10,
      values: [
        ['{x}:text', one],
        ['{y}:text', other],
      ],
    });
    const texts = new Map([
      ['{x}:text', 'w1.1;'],
      ['{y}:text', 'w1.2;'],
    ]);
    const change = (name: string, key: string, sequence: number): FollowedChange => ({
      sequence,
      id: name,
      transaction: `${sequence}.1.1`,
      keys: [key],
      name,
      counts: [],
    });
    const history: Draft = {
      writes: [write('w1.1', '{x}:text'), write('w1.2', '{y}:text')],
      reads: [read('w1.1;', null), read(null, 'w1.2;')],
      followers: [[change('w1.1', '{x}:text', 1), change('w1.2', '{y}:text', 2)]],
      finals: new Map([['here', texts]]),
      finalAt: 100,
      copies: [],
      losses: [],
      complaints: [],
    };
    expect(brokenIn({ ...history, reads: history.reads.slice(0, 1) })).toEqual(new Set());
    const [circle, ...others] = violationsIn(history);
    expect(others).toEqual([]);
    expect(circle?.promise).toBe('one order');
    expect(circle?.operations).toHaveLength(4);
  });

  it('lets a plain reader see a part of a write during a copy, and at no other time', () => {
    const history = good();
    plantHalf(history);
    const whole = { from: 0, to: history.finalAt };
    expect(brokenIn({ ...history, copies: [] })).toEqual(new Set(['all or none']));
    const copies = regions.map((region) => ({ region, ...whole }));
    expect(violationsIn({ ...history, copies })).toEqual([]);
  });

  it('lets a read by a lease be old in a region that has lost writes, and no other read', () => {
    const history = good();
    const { read, key, old } = readAfterWrite(history, 'strong');
    const stale = { ...read, values: [[key, old]] as const };
    replace(history.reads, read, stale);
    const losses = [{ region: read.region, from: read.startedAt, to: read.endedAt }];
    expect(brokenIn(history)).toEqual(new Set(['one order']));
    expect(violationsIn({ ...history, losses })).toEqual([]);
    replace(history.reads, stale, { ...stale, via: 'coordinator' });
    expect(brokenIn({ ...history, losses })).toEqual(new Set(['one order']));
  });

  it('takes no order between the sequences of two shards', () => {
    const history = good();
    const shardOf = ({ transaction }: FollowedChange) => transaction.split('.')[0];
    changeFeed(history, (changes) => {
      const at = changes.findIndex((change, index) => {
        const next = changes[index + 1];
        const isOther = next !== undefined && shardOf(change) !== shardOf(next);
        return isOther && !change.keys.some((key) => next.keys.includes(key));
      });
      return swapped(changes, at, (change) => change);
    });
    expect(violationsIn(history)).toEqual([]);
  });
});
