import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  command,
  executed,
  increment,
  outcomesOf,
  part,
  prepareOf,
  roundOf,
  set,
  snapshotOf,
  write,
} from './fixtures.ts';
import { type World, worlds } from './worlds.ts';

const servers = worlds.filter(([name]) => name !== 'the model');

// A server of Redis 7.0 knows no JSON.
describe.each(servers)('a command that %s does not know', (_, open) => {
  let world: World;
  beforeAll(async () => {
    world = await open();
  });
  afterAll(() => world.stop());

  it('is a vote of its own that names it and its part, and leaves nothing behind', async () => {
    const unknown = write('JSON.SET', 'n', '$', '1');
    const prepares = [prepareOf(1, ['n'], part(increment('n')), part(set('n', '5'), unknown))];
    const reply = executed(await world.round(roundOf({ prepares })));
    expect(reply.votes).toEqual([{ kind: 'lacking', part: 1, command: 'JSON.SET' }]);
    const again = [prepareOf(2, ['n'], part(increment('n')))];
    const next = executed(await world.round(roundOf({ prepares: again })));
    expect(outcomesOf(next.votes[0])).toBe('[[0,1]]');
  });

  it('is told by its name in a read', async () => {
    const read = await world.snapshot(snapshotOf(['k'], [command(['JSON.GET', 'k'])]));
    expect(read).toMatchObject({ replies: expect.stringContaining("unknown command 'JSON.GET'") });
  });
});
