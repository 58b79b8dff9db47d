import { describe, expect, it } from 'vitest';
import { frameOf, orderLocks } from '../../functions/coordinator/compile-frame.ts';
import { noScripts, unknownScriptError } from '../../shared/commands/user-scripts.ts';
import { keyOfWrite } from '../../shared/reserved-keys.ts';
import { requestOf } from './requests.ts';

describe('writes that arrive together', () => {
  it('share a lock that keeps their order from the first script on, which may touch any key', () => {
    const requests = [
      requestOf('0-1', ['SET', 'a', '1']),
      requestOf('0-2', ['eval', 'return 1', '0']),
      requestOf('0-3', ['SET', 'b', '1']),
      requestOf('0-4', ['EVALSHA', 'x', '0']),
    ];
    const lock = keyOfWrite('0-2');
    expect(orderLocks(requests)).toEqual([null, lock, lock, lock]);
    expect(orderLocks(requests.slice(0, 1))).toEqual([null]);
  });
});

describe('the frame of a write', () => {
  it.each([
    ['its keys alone', requestOf('0-1', ['SET', 'a', '1']), null, ['a']],
    [
      'its keys and the lock that keeps its order',
      requestOf('0-1', ['SET', 'a', '1']),
      'lock',
      ['a', 'lock'],
    ],
    [
      'only that lock if it has no key',
      requestOf('0-1', ['EVAL', 'return 1', '0']),
      'lock',
      ['lock'],
    ],
    [
      'a lock of its own without either',
      requestOf('0-1', ['EVAL', '', '0']),
      null,
      [keyOfWrite('0-1')],
    ],
  ])('locks %s', (_name, request, lock, keys) => {
    expect(frameOf(request, 1, noScripts, lock)).toMatchObject({ keys });
  });

  it('is refused in Redis’s words if Redis refuses it too', () => {
    const request = requestOf('0-1', ['EVALSHA', 'f'.repeat(40), '0']);
    expect(frameOf(request, 1, noScripts)).toMatchObject({ error: unknownScriptError });
    expect(frameOf({ ...request, continueOnError: true }, 1, noScripts)).toMatchObject({
      operations: [{ kind: 'fail', args: [unknownScriptError] }],
    });
    const own = frameOf(requestOf('0-1', ['FCALL', 'f', '0']), 1, noScripts);
    expect(own).toMatchObject({ kind: 'refused' });
    expect(own).not.toHaveProperty('error');
  });
});
