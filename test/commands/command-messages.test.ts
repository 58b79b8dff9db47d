/** Tests how PUBLISH compiles. test/region/claims/messages.ts has the claims about its effects. */
import { describe, expect, it } from 'vitest';
import { compileWrite } from '../../shared/commands/compile.ts';
import { channelKey } from '../../shared/commands/keys.ts';
import { limits } from '../../shared/limits.ts';
import { commandOf } from '../../shared/protocol/transactions/event-router.ts';
import { withoutChannels } from '../../shared/reserved-keys.ts';
import { context, operationOf, refusalOf } from './command-samples.ts';

describe('PUBLISH', () => {
  it('compiles to one operation on the key of its channel, and is reported as a command', () => {
    const operation = operationOf('publish news hello');
    expect(operation).toMatchObject({
      kind: 'publish',
      args: ['lockstep:channel:news', 'news', 'hello'],
      writes: [0],
      reads: [],
      reply: null,
    });
    expect(commandOf(operation)).toEqual(['PUBLISH', 'news', 'hello']);
  });

  it('adds its channel to the locked keys of a write, and not to its visible keys', () => {
    const ops = [
      ['SET', 'k', 'v'],
      ['PUBLISH', 'a', '1'],
      ['PUBLISH', 'b', '2'],
      ['PUBLISH', 'a', '3'],
    ];
    const compiled = compileWrite(ops, [], context);
    if (!compiled.ok) throw new Error(compiled.detail);
    expect(compiled.keys).toEqual(['k', channelKey('a'), channelKey('b')]);
    expect(withoutChannels(compiled.keys)).toEqual(['k']);
  });

  it('accepts any bytes, in a channel and in a message, and locks by text', () => {
    const compiled = compileWrite([['PUBLISH', 'c\udcff', '\udc80']], [], context);
    expect(compiled).toMatchObject({
      keys: ['lockstep:channel:c\ufffd'],
      operations: [{ args: ['lockstep:channel:c\ufffd', 'c\udcff', '\udc80'] }],
    });
  });

  it('is refused on reserved channels, beyond its limit, and with half a character', () => {
    for (const channel of ['lockstep:x', '__keyspace@0__:k', '__keyevent@0__:set']) {
      expect(refusalOf(['PUBLISH', channel, 'm'])).toMatchObject({ problem: 'reserved-key' });
    }
    expect(operationOf('PUBLISH __keys m').kind).toBe('publish');
    const longest = 'x'.repeat(limits.channelBytes);
    expect(operationOf(`PUBLISH ${longest} m`).kind).toBe('publish');
    expect(refusalOf(['PUBLISH', `${longest}x`, 'm'])).toMatchObject({ problem: 'too-large' });
    expect(refusalOf(['PUBLISH', 'c', '\ud800'])).toMatchObject({ problem: 'invalid-command' });
  });

  it('counts its arguments as Redis does', () => {
    expect(refusalOf('PUBLISH c').redis).toEqual({
      error: "ERR wrong number of arguments for 'publish' command",
      whenQueued: true,
    });
  });
});
