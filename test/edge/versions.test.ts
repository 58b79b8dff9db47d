/** Tests the problem for an object of another release. */
import { describe, expect, it } from 'vitest';
import { UnfitVersion } from '../../shared/contracts/rpc.ts';
import { EdgeUnderTest, problemOf } from './fakes.ts';

const unfit = async () => {
  throw new UnfitVersion('a call has version 3, and this object supports 2 to 2');
};

describe('an object of another release', () => {
  it('returns a problem of its own, which says that nothing was done, without a retry', async () => {
    const edge = new EdgeUnderTest({ write: unfit });
    const written = await edge.write({ ops: [['SET', 'k', 'v']] });
    expect([written.status, problemOf(written)]).toEqual([503, 'version-unknown']);
    expect(written.headers.get('retry-after')).toBe('1');
    expect(edge.writes).toHaveLength(1);
    const error = await edge.ask('POST', '/', { body: ['SET', 'k', 'v'] });
    expect([error.status, error.text]).toEqual([503, expect.stringContaining('version 3')]);
  });
});
