/** Tests commands that a server does not know. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  command,
  continuingOnError,
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
import { type Implementation, implementations } from './implementations.ts';

const servers = implementations.filter(([name]) => name !== 'the model');

// A server of Redis 7.0 knows no JSON.
describe.each(servers)('a command that %s does not know', (_, open) => {
  let region: Implementation;
  beforeAll(async () => {
    region = await open();
  });
  afterAll(() => region.stop());

  it('gets a vote that names it and its part, and leaves nothing behind', async () => {
    const unknown = write('JSON.SET', 'n', '$', '1');
    const prepares = [prepareOf(1, ['n'], part(increment('n')), part(set('n', '5'), unknown))];
    const reply = executed(await region.round(roundOf({ prepares })));
    expect(reply.votes).toEqual([{ kind: 'lacking', part: 1, command: 'JSON.SET' }]);
    const again = [prepareOf(2, ['n'], part(increment('n')))];
    const next = executed(await region.round(roundOf({ prepares: again })));
    expect(outcomesOf(next.votes[0])).toBe('[[0,1]]');
  });

  it('is not confused with a command whose error contains the same words', async () => {
    const group = 'unknown command';
    const reading = ['XREADGROUP', 'GROUP', group, 'c', 'STREAMS', 's', '>'];
    const deliver = { ...write(...reading), kind: 'deliver' as const, writes: [5] };
    const operations = [write('XADD', 's', '1-1', 'f', 'v'), deliver];
    const prepares = [prepareOf(3, ['s'], continuingOnError(part(...operations)))];
    const reply = executed(await region.round(roundOf({ prepares })));
    expect(outcomesOf(reply.votes[0])).toContain('NOGROUP');
    const read = await region.snapshot(
      snapshotOf([group], [command(['XINFO', 'CONSUMERS', 'none', group])]),
    );
    expect(read).toMatchObject({ replies: expect.not.stringContaining('server is older') });
  });

  it('gets an error with its name in a read', async () => {
    const read = await region.snapshot(snapshotOf(['k'], [command(['JSON.GET', 'k'])]));
    const error = expect.stringContaining("unknown command 'JSON.GET'");
    expect(read).toMatchObject({ replies: [{ error }] });
  });
});
