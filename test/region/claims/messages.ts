import { beforeEach, describe, expect, it } from 'vitest';
import { channelKey } from '../../../shared/commands/keys.ts';
import type { Part } from '../../../shared/contracts/round.ts';
import {
  abortOf,
  checked,
  command,
  commitOf,
  continuingOnError,
  executed,
  increment,
  outcomesOf,
  part,
  prepareOf,
  publish,
  roundOf,
  set,
  snapshotOf,
  write,
} from '../fixtures.ts';
import type { Implementation } from '../implementations.ts';
import { repliesOfJson } from '../replies.ts';

/** Claims about messages: staged with a write, published by its commit. */
export function claimMessages(region: () => Implementation): void {
  const send = async (given: Parameters<typeof roundOf>[0]) =>
    executed(await region().round(roundOf(given)));
  const keysOf = (...channels: readonly string[]) => channels.map(channelKey);
  const published = () => region().published();
  const prepare = async (sequence: number, keys: readonly string[], ...parts: readonly Part[]) =>
    outcomesOf((await send({ prepares: [prepareOf(sequence, keys, ...parts)] })).votes[0]);

  describe('a message', () => {
    beforeEach(async () => {
      await published();
    });

    it('is published once, by the commit, and its reply counts no receivers', async () => {
      expect(await prepare(1, keysOf('news'), part(publish('news', 'one')))).toBe('[[0,0]]');
      expect(await published()).toEqual([]);
      const decisions = [commitOf(1, keysOf('news'))];
      expect((await send({ decisions })).decisions).toEqual(['acknowledged']);
      expect((await send({ decisions: [...decisions, ...decisions] })).decisions).toEqual([
        'acknowledged',
        'acknowledged',
      ]);
      expect(await published()).toEqual(['news one']);
    });

    it('is not published by an abort, and leaves nothing behind', async () => {
      await prepare(1, keysOf('news'), part(publish('news', 'one')));
      await send({ decisions: [abortOf(1, keysOf('news'))] });
      await prepare(2, keysOf('news'), part(publish('news', 'two')));
      await send({ decisions: [commitOf(2, keysOf('news'))] });
      expect(await published()).toEqual(['news two']);
      expect(await region().run('EXISTS', ...keysOf('news'))).toBe('0');
    });

    it('keeps the order of its transaction over several channels and parts', async () => {
      const keys = [...keysOf('b', 'a'), 'k'];
      const first = part(publish('a', '1'), set('k', 'v'), publish('b', '2'));
      const second = part(publish('a', '3'), publish('b', '4'), publish('a', '5'));
      expect(await prepare(1, keys, first, second)).toBe('[[0,0,{"s":"OK"},0],[0,0,0,0]]');
      await send({ decisions: [commitOf(1, keys)] });
      expect(await published()).toEqual(['a 1', 'b 2', 'a 3', 'b 4', 'a 5']);
      expect(await region().run('GET', 'k')).toBe('"v"');
    });

    it('is not published if its part is undone, and messages of other parts are', async () => {
      await region().run('SET', 'text', 'x');
      const keys = [...keysOf('news'), 'text'];
      const outcomes = await prepare(
        1,
        keys,
        part(publish('news', 'before')),
        part(publish('news', 'undone'), increment('text')),
        checked({ kind: 'absent', key: 'text' }, publish('news', 'unmet')),
        continuingOnError(part(publish('news', 'kept'), increment('text'))),
      );
      const error = '"ERR value is not an integer or out of range"';
      expect(outcomes).toBe(`[[0,0],[2,1,${error}],[1,0,"string"],[0,0,{"e":${error}}]]`);
      await send({ decisions: [commitOf(1, keys)] });
      expect(await published()).toEqual(['news before', 'news kept']);
    });

    it('keeps its bytes, even if they are not valid UTF-8', async () => {
      const texts = ['', 'm|1,2,3|', 'a\r\nb\0', 'é✓', '\udcff\udc80', '|'.repeat(7_000)];
      const bytes = ['', 'm|1,2,3|', 'a\r\nb\0', 'Ã©â\x9c\x93', '\xff\x80', '|'.repeat(7_000)];
      const channels = texts.map((text) => `c${text.slice(0, 9)}`);
      const keys = channels.map(channelKey);
      await prepare(1, keys, part(...texts.map((text, at) => publish(channels[at] ?? '', text))));
      await send({ decisions: [commitOf(1, keys)] });
      const heard = await published();
      expect(heard).toEqual(bytes.map((text) => `c${text.slice(0, 9)} ${text}`));
    });

    it('locks its channel, so that the next one waits for its decision', async () => {
      await prepare(1, keysOf('news'), part(publish('news', 'one')));
      const next = prepareOf(2, keysOf('news'), part(publish('news', 'two')));
      const reply = await send({ prepares: [next] });
      expect(reply.votes).toEqual([{ kind: 'locked', key: channelKey('news'), holder: [1, 1] }]);
      const other = prepareOf(3, keysOf('other'), part(publish('other', 'three')));
      expect((await send({ prepares: [other] })).votes[0]?.kind).toBe('yes');
    });

    it('is published by a reader that applies the commit, and not again by the next round', async () => {
      const keys = [...keysOf('news'), 'k'];
      await prepare(1, keys, part(set('k', 'v'), publish('news', 'one')));
      const settle = [commitOf(1, keys)];
      const read = await region().snapshot(snapshotOf(['k'], [command(['GET', 'k'])], { settle }));
      expect(read).toEqual({ kind: 'read', replies: repliesOfJson('["v"]'), locks: [] });
      expect(await published()).toEqual(['news one']);
      expect((await send({ decisions: settle })).decisions).toEqual(['acknowledged']);
      expect(await published()).toEqual([]);
    });

    it('is not published by a commit that finds only some of its locks', async () => {
      const keys = [...keysOf('news'), 'k'];
      await prepare(1, keys, part(set('k', 'v'), publish('news', 'one')));
      await region().dropLock('k');
      expect((await send({ decisions: [commitOf(1, keys)] })).decisions).toEqual(['lost']);
      expect(await published()).toEqual([]);
    });

    it('is published after all changes of its write', async () => {
      const keys = ['list', ...keysOf('news')];
      await prepare(1, keys, part(publish('news', 'pushed'), write('LPUSH', 'list', 'x')));
      await send({ decisions: [commitOf(1, keys)] });
      expect(await published()).toEqual(['news pushed']);
      expect(await region().run('LRANGE', 'list', '0', '-1')).toBe('["x"]');
    });
  });
}
