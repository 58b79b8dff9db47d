/**
 * Tests how relative expiries compile to absolute ones. test/region/oracle/expiry.test.ts compares their effects with
 * a Redis.
 */
import { describe, expect, it } from 'vitest';
import { operationAt } from '../../shared/contracts/frame.ts';
import { limits } from '../../shared/limits.ts';
import { now, operationOf, refusalOf } from './command-samples.ts';

/** As a transaction that begins at `now` carries it. */
const carried = (words: string) => operationAt(operationOf(words), now);

describe('an expiry', () => {
  it.each([
    ['SET k v', ['k', 'v', '']],
    ['set k v ex 10', ['k', 'v', `${now + 10_000}`]],
    ['SET k v PX 10', ['k', 'v', `${now + 10}`]],
    ['SET k v EXAT 1900000000', ['k', 'v', '1900000000000']],
    ['SET k v PXAT 1900000000001', ['k', 'v', '1900000000001']],
    ['SET k v EX 1 EX 2', ['k', 'v', `${now + 2_000}`]],
    ['SETEX k 10 v', ['k', 'v', `${now + 10_000}`]],
    ['PSETEX k 10 v', ['k', 'v', `${now + 10}`]],
    ['SET k EX EX 1', ['k', 'EX', `${now + 1_000}`]],
  ])('makes %s a plain set', (words, args) => {
    expect(carried(words)).toMatchObject({ kind: 'set', args, writes: [0], reads: [] });
  });

  it.each([
    ['SET k v NX EX 10', ['SET', 'k', 'v', 'NX', 'PXAT', `${now + 10_000}`]],
    ['SET k v px 10 get xx', ['SET', 'k', 'v', 'GET', 'XX', 'PXAT', `${now + 10}`]],
    ['SET k v KEEPTTL', ['SET', 'k', 'v', 'KEEPTTL']],
    ['SET k v NX NX', ['SET', 'k', 'v', 'NX']],
    ['GETEX k', ['GETEX', 'k']],
    ['GETEX k persist', ['GETEX', 'k', 'PERSIST']],
    ['GETEX k EX 10', ['GETEX', 'k', 'PXAT', `${now + 10_000}`]],
    ['GETEX k PXAT 1900000000001', ['GETEX', 'k', 'PXAT', '1900000000001']],
    ['EXPIRE k 10', ['PEXPIREAT', 'k', `${now + 10_000}`]],
    ['PEXPIRE k 10 nx', ['PEXPIREAT', 'k', `${now + 10}`, 'NX']],
    ['EXPIRE k -1 xx LT xx', ['PEXPIREAT', 'k', '1', 'XX', 'LT']],
    ['EXPIREAT k 1900000000 GT', ['PEXPIREAT', 'k', '1900000000000', 'GT']],
    ['PEXPIREAT k 1900000000001', ['PEXPIREAT', 'k', '1900000000001']],
  ])('makes %s absolute', (words, args) => {
    expect(carried(words)).toMatchObject({ kind: 'write', args, writes: [1], reads: [] });
  });

  it.each(['EXPIRE k 0', 'EXPIRE k -5', 'PEXPIRE k -1', `PEXPIREAT k ${now}`, 'EXPIREAT k -7'])(
    'that has passed in %s has passed by any clock',
    (words) => {
      expect(operationOf(words).args).toEqual(['PEXPIREAT', 'k', '1']);
    },
  );

  it('that has passed in SET has passed by any clock', () => {
    expect(operationOf(`SET k v PXAT ${now}`).args).toEqual(['k', 'v', '1']);
    expect(operationOf(`SET k v PXAT ${now + 1}`).args).toEqual(['k', 'v', `${now + 1}`]);
  });

  it.each(['SET k v PX 10', 'SET k v NX PX 10', 'GETEX k PX 10', 'PEXPIRE k 10 GT'])(
    'of %s counts from the time of its transaction, and is an absolute time by then',
    (words) => {
      const later = operationAt(operationOf(words), now + 5_000);
      expect(later.args).toContain(String(now + 5_010));
      expect(later).not.toHaveProperty('lifetimeAt');
      expect(operationAt(later, now + 9_000)).toEqual(later);
    },
  );

  it('with an absolute time keeps it, independently of its transaction’s time', () => {
    const words = ['SET k v PXAT 1900000000001', 'PEXPIREAT k 1900000000001', 'EXPIRE k -1'];
    for (const given of words.map(operationOf)) expect(operationAt(given, now + 1)).toEqual(given);
  });

  it('beyond the maximum becomes the maximum', () => {
    const last = limits.expiryMsMaximum;
    expect(carried(`PEXPIRE k ${last - now}`).args[2]).toBe(String(last));
    expect(operationOf(`PEXPIRE k ${last - now + 1}`).args[2]).toBe(String(last));
    expect(operationOf('EXPIREAT k 9007199254740993').args[2]).toBe(String(last));
    expect(operationOf('SET k v PXAT 9223372036854775807').args[2]).toBe(String(last));
    expect(refusalOf('EXPIRE k 9223372036854775807').detail).toContain("'expire' command");
    expect(refusalOf('PEXPIRE k 9223372036854775807').detail).toContain("'pexpire' command");
    expect(refusalOf('SET k v EX 9223372036854776').detail).toContain("'set' command");
  });

  it.each([
    'EXPIRE k -9007199254740993',
    'EXPIREAT k -9223372036854775',
    'PEXPIRE k -9223372036854775808',
  ])('far in the past, as in %s, deletes the key', (words) => {
    expect(operationOf(words).args).toEqual(['PEXPIREAT', 'k', '1']);
  });

  it('that is invalid in GETEX goes to the region, which looks for the key first', () => {
    expect(operationOf('GETEX k EX 0').args).toEqual(['GETEX', 'k', 'PXAT', '0']);
    expect(operationOf('GETEX k EXAT soon').args).toEqual(['GETEX', 'k', 'PXAT', 'x']);
    expect(operationOf('GETEX k EX 9223372036854775807').args).toEqual(['GETEX', 'k', 'PXAT', '0']);
  });

  it.each([
    ['SET k v EX 0', "invalid expire time in 'set' command"],
    ['SET k v EXAT -1', "invalid expire time in 'set' command"],
    ['SETEX k 0 v', "invalid expire time in 'setex' command"],
    ['PSETEX k -5 v', "invalid expire time in 'psetex' command"],
    ['SET k v EX 0 FOO', 'syntax error'],
    ['SET k v EX 0 PX 1', 'syntax error'],
    ['GETEX k EX 0 FOO', 'syntax error'],
    ['SET k v EX +1', 'value is not an integer'],
    ['SET k v EX 01', 'value is not an integer'],
    ['SET k v EX 1e3', 'value is not an integer'],
    ['EXPIRE k soon', 'value is not an integer'],
    ['EXPIRE k 1 EX', "unsupported option in 'expire'"],
    ['PEXPIRE k 1 NX GT', 'incompatible options'],
    ['EXPIREAT k 1 GT LT', 'incompatible options'],
    ['SET k v EX', 'syntax error'],
    ['SET k v NX XX', 'syntax error'],
    ['SET k v EX 1 PX 1', 'syntax error'],
    ['SET k v EX 1 KEEPTTL', 'syntax error'],
    ['SET k v PERSIST', 'syntax error'],
    ['SET k v constructor', 'syntax error'],
    ['GETEX k PERSIST EX 1', 'syntax error'],
    ['GETEX k KEEPTTL', 'syntax error'],
  ])('is refused in %s: %s', (words, detail) => {
    const refusal = refusalOf(words);
    expect(refusal.problem).toBe('invalid-command');
    expect(refusal.detail).toContain(detail);
  });
});
