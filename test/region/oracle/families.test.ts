/** Compares the edge cases of each family of commands in a region with a plain Redis. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../../shared/limits.ts';
import { RedisOracle } from './redis-oracle.ts';

let oracle: RedisOracle;

beforeAll(async () => {
  oracle = await RedisOracle.start();
});

afterAll(() => oracle.stop());

/** Scenarios: each line a transaction, its commands separated by semicolons, `''` being the empty string. */
const scenarios: readonly (readonly [family: string, claim: string, script: string])[] = [
  [
    'string',
    'keeps an expiry through APPEND, SETRANGE and INCR, and drops it with SET and GETSET',
    `
    SET k 5 PXAT 4000000000000; INCR k; APPEND k 7; SETRANGE k 1 9; PEXPIRETIME k
    SET k 5; PEXPIRETIME k; SET k 6 PXAT 4000000000000; GETSET k 7; PEXPIRETIME k
    SET k 5 PXAT 4000000000000; SET k 6 KEEPTTL; PEXPIRETIME k; GETEX k PERSIST; PEXPIRETIME k`,
  ],
  [
    'string',
    'checks the key before the time in GETEX, and accepts times however far',
    `
    GETEX none EX 0; GETEX none PX soon; GETEX none EXAT -1; GETEX none EX 0 NONSENSE; SET k v; GETEX k EX 0; GETEX k PX x; GETEX k EXAT -5
    GETEX k EX 9223372036854775807; EXPIREAT none 9007199254740993; EXPIREAT none 9223372036854775807; PEXPIRE none 9223372036854775807
    LPUSH l x; GETEX l EX 0; EXPIREAT k 9007199254740993; PERSIST k; EXPIRE k -9007199254740993; EXISTS k; SET k v; PEXPIRE k -9223372036854775808
    EXISTS k; SET k v EX 9223372036854776; SET k v PX -9223372036854775808; SET k v EX 1 FOO; SET k v EX 0 PX 1; EXISTS k`,
  ],
  [
    'string',
    'sets nothing by MSETNX if one key exists, and deletes by GETDEL',
    `
    SET a 1; MSETNX b 1 a 2; EXISTS b; MSETNX b 1 c 2; GETDEL b; GETDEL b; GETDEL c; EXISTS a b c`,
  ],
  [
    'string',
    'grows by SETRANGE from nothing, and leaves nothing for an empty value',
    `
    SETRANGE k 5 x; STRLEN k; SETRANGE none 5 ''; EXISTS none; SETRANGE k -1 x; SETRANGE k 536870912 x; SETRANGE k 1 ''`,
  ],
  [
    'string',
    'writes floats as Redis does',
    `
    SET f 10.50; INCRBYFLOAT f 0.1; INCRBYFLOAT f -5; SET f 5.0e3; INCRBYFLOAT f 2.0e2; INCRBYFLOAT f 1e-17
    SET f 3; INCRBYFLOAT f 0; HSET h f 5.0e3; HINCRBYFLOAT h f 2.0e2; HINCRBYFLOAT h g .1; INCRBYFLOAT f inf; INCRBYFLOAT f nan
    SET f 1e400; INCRBYFLOAT f 1; HSET h t text; HINCRBYFLOAT h t 1; INCRBYFLOAT h 1`,
  ],
  [
    'string',
    'counts to the ends of 64 bits and no further',
    `
    SET n 9223372036854775806; INCR n; INCR n; DECRBY n -1; SET n -9223372036854775807; DECR n; DECR n; GET n
    DECRBY n -9223372036854775808; HSET h n 9223372036854775807; HINCRBY h n 1; HINCRBY h n -1; SET n ' 1'; INCR n`,
  ],
  [
    'bitmap',
    'makes a key by SETBIT and BITOP, and deletes it by an empty result',
    `
    SETBIT b 7 1; SETBIT b 7 0; GETBIT b 100; STRLEN b; SET k x; BITOP AND k none none2; EXISTS k; BITOP NOT k b b
    BITOP OR k b none; BITCOUNT k; BITPOS k 1; BITPOS k 0 5; BITFIELD k GET u8 0; BITFIELD none GET u8 0; EXISTS none
    BITFIELD k OVERFLOW FAIL SET u4 0 16 INCRBY u2 100 3; BITFIELD k GET u99 0; LPUSH l x; SETBIT l 0 1; BITOP OR k l b`,
  ],
  [
    'key',
    'renames over any type and onto itself, with its expiry',
    `
    SET a 1 PXAT 4000000000000; LPUSH b x; RENAME a b; PEXPIRETIME b; TYPE b; RENAME b b; RENAME none b; GET b
    RENAMENX b c; RENAMENX c c; SET d 1; RENAMENX c d; RENAMENX none d; EXISTS a b c d`,
  ],
  [
    'key',
    'copies with expiry, and replaces another key only with REPLACE',
    `
    HSET a f v; PEXPIREAT a 4000000000000; COPY a b; PEXPIRETIME b; SET c 1; COPY a c; COPY a c REPLACE; TYPE c; COPY a a
    COPY none b REPLACE; EXISTS b; COPY a a REPLACE; COPY a b NONSENSE`,
  ],
  [
    'key',
    'sorts numbers, and stores a list or nothing',
    `
    RPUSH l 3 1 2 10; SORT l; SORT l DESC LIMIT 1 2; SORT l ALPHA STORE d; LRANGE d 0 -1; SORT none STORE d; EXISTS d
    RPUSH w b a; SORT w; SORT w STORE w; SORT w ALPHA STORE w; LRANGE w 0 -1; SET s 1; SORT s; SORT l GET # GET # STORE l; LLEN l
    SADD t 3 1 2; SORT t; SORT t BY nosort STORE d; ZADD z 3 a 1 b; SORT z BY nosort STORE d; LRANGE d 0 -1; SORT l LIMIT x 1`,
  ],
  [
    'hash',
    'is deleted with its last field, and keeps its expiry until then',
    `
    HSET h a 1 b 2; PEXPIREAT h 4000000000000; HDEL h a none; PEXPIRETIME h; HDEL h b; EXISTS h; HDEL h b; HSET h c 3; PEXPIRETIME h
    HINCRBY h c x; HINCRBY h text 5; HSETNX h c 9; HGETALL h; HSET s; SET s 1; HSET s f v; HGETALL s; HDEL s f; HINCRBY s f 1`,
  ],
  [
    'set',
    'is deleted with its last member, also by SMOVE and stores of nothing',
    `
    SADD a 1; SADD b 2; SMOVE a b 1; EXISTS a; SMOVE a b 1; SMOVE b b 2; SINTERSTORE b none b; EXISTS b; SADD c 1 2; SDIFFSTORE c c c
    EXISTS c; SADD c x; SET s 1; SMOVE c s x; SUNIONSTORE c s; SUNIONSTORE s c; TYPE s; SMOVE none s x; SADD c 1 x é; SREM c 1 x é`,
  ],
  [
    'sorted set',
    'orders equal scores by bytes, and is deleted with its last member',
    `
    ZADD z 1 b 1 a 1 B 1 é; ZRANGE z 0 -1; ZREM z a b B; ZPOPMIN z 5; EXISTS z; ZPOPMAX z; ZADD z nan a; ZADD z inf a; ZINCRBY z -inf a
    ZADD z NX XX 1 a; ZADD z GT LT 1 a; ZADD z INCR 1 a 2 b; ZADD z XX INCR 1 none; ZADD z 1; ZADD z 1 a b; ZADD z -0 n; ZSCORE z n
    ZUNIONSTORE z 1 none; EXISTS z; ZADD z 1e22 big 0.1 small 1e-7 tiny; ZRANGE z 0 -1 WITHSCORES; ZRANGESTORE d z 5 9; EXISTS d`,
  ],
  [
    'sorted set',
    'accepts sets as sorted sets, and pops from the first that has members',
    `
    SADD s a b; ZADD z 2 b 3 c; ZUNIONSTORE d 2 s z WEIGHTS 10 1; ZRANGE d 0 -1 WITHSCORES; ZMPOP 3 none z d MAX; ZMPOP 2 s z MIN
    ZINTERSTORE d 2 s z AGGREGATE MAX; ZDIFFSTORE d 2 z s; ZMPOP 2 none other MIN; ZUNIONSTORE d 2 s z WEIGHTS 1; ZMPOP 0 z MIN`,
  ],
  [
    'list',
    'is deleted with its last element, even if that moves to the same list or to another',
    `
    RPUSH l a b; LMOVE l l LEFT RIGHT; RPOPLPUSH l l; LMOVE l m LEFT LEFT; LMOVE l m LEFT RIGHT; EXISTS l; LRANGE m 0 -1; LPUSHX l x
    LMPOP 2 l m RIGHT COUNT 9; EXISTS m; RPUSH l x; SET s 1; LMOVE l s LEFT LEFT; LLEN l; LMOVE none s LEFT LEFT; LTRIM l 5 9; EXISTS l
    RPUSH l 1 2 1 2 1; LREM l -2 1; LPOS l 2 RANK -1; LSET l 9 x; LSET none 0 x; LINSERT l BEFORE 9 x; LPOP l 0; LPOP l -1; LPOP none 1`,
  ],
  [
    'stream',
    'exists without entries, and takes only rising ids',
    `
    XADD s 5-1 f v; XADD s 5-1 f v; XADD s 5 f v; XADD s 0-0 f v; XADD s 5-* f v; XADD s 6-* f v; XDEL s 5-1 5-2 6-0; XLEN s; EXISTS s
    XADD s 6-* f v; XADD none NOMKSTREAM 1 f v; EXISTS none; XADD s 7 f; XADD s 18446744073709551615-18446744073709551615 f v
    XADD s * f v; XSETID s 1-1; XTRIM s MAXLEN 0; XLEN s; XSETID s 3-3; XSETID none 1-1; LPUSH l x; XADD l 1 f v; XLEN l`,
  ],
  [
    'stream',
    'continues at the next ms after the last sequence of a ms, and ends with the last id of all',
    `
    XADD s 5000000000000-18446744073709551615 f v; XADD s * f v; XADD s * f v
    XADD t 5999999999999-18446744073709551615 f v; XADD t * f v; XADD u 18446744073709551615-5 f v; XADD u * f v
    XADD w * m '' LIMIT; XADD w * MAXLEN LIMIT = LIMIT LIMIT; XADD w MAXLEN = 1 * LIMIT 5 f; XADD w 7000000000000-1 LIMIT 5 LIMIT 1
    XADD v 18446744073709551615-18446744073709551615 f v; XADD v * f v; XADD v NOMKSTREAM MAXLEN ~ 0 * f v; XLEN v`,
  ],
  [
    'stream',
    'does not wait in a transaction, even with BLOCK',
    `
    XADD s 1-1 f v; XGROUP CREATE s g 0; XREAD BLOCK 1 STREAMS s $; XREAD BLOCK 5 COUNT 1 STREAMS s 0; XREAD BLOCK x STREAMS s 0
    XREADGROUP GROUP g c BLOCK 100 STREAMS s >; XREADGROUP GROUP g c BLOCK 1 STREAMS s >; XREADGROUP BLOCK -1 GROUP g c STREAMS s >`,
  ],
  [
    'stream',
    'names keys and groups in its errors and replies as Redis does',
    `
    XREADGROUP GROUP g c STREAMS s >; XGROUP CREATE s g 0; XGROUP CREATE s g 0 MKSTREAM; XGROUP CREATE s g 0; XPENDING none g
    XACK none g 1-1; XCLAIM s none c 0 1-1; XAUTOCLAIM none g c 0 0; XGROUP DELCONSUMER s none c; XGROUP SETID s g 5-5
    XADD s 6-1 f v; XADD t 6-1 f v; XREAD STREAMS s none t 0 0 0; XREADGROUP GROUP g c STREAMS s t > >; XREADGROUP GROUP g c STREAMS s >`,
  ],
  [
    'stream',
    'passes pending entries on, and forgets deleted ones',
    `
    XGROUP CREATE s g 0 MKSTREAM; XADD s 1-1 a 1; XADD s 2-1 b 2; XADD s 3-1 c 3; XREADGROUP GROUP g one STREAMS s >; XPENDING s g
    XDEL s 2-1; XCLAIM s g two 0 1-1 2-1 9-9; XPENDING s g; XREADGROUP GROUP g two STREAMS s 0; XCLAIM s g two 5000000 3-1
    XREADGROUP GROUP g one STREAMS s 0; XCLAIM s g two 0 3-1 IDLE 6000000 RETRYCOUNT 7 JUSTID; XCLAIM s g one 5000000 3-1; XACK s g 1-1
    XAUTOCLAIM s g two 0 - COUNT 1; XAUTOCLAIM s g two 5000000 0; XPENDING s g; XGROUP DELCONSUMER s g two; XGROUP DESTROY s g`,
  ],
  [
    'stream',
    'keeps deleted entries pending, and keeps its history',
    `
    XGROUP CREATE s g 0 MKSTREAM; XADD s 1-1 a 1; XADD s 2-1 b 2; XREADGROUP GROUP g c STREAMS s >; XDEL s 1-1
    XREADGROUP GROUP g c STREAMS s 0; XPENDING s g; XREADGROUP GROUP g c NOACK STREAMS s 0; XPENDING s g; XGROUP SETID s g 0
    XREADGROUP GROUP g two NOACK COUNT 1 STREAMS s s > 0; XPENDING s g; COPY s t; XACK t g 1-1`,
  ],
  [
    'geo',
    'measures distances, searches, and stores the results',
    `
    GEOADD g 13.361389 38.115556 P 15.087269 37.502669 C; GEODIST g P C km; GEODIST g P none; GEOHASH g P none; GEOPOS g C none
    GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHDIST; GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 100 km; ZCARD d
    GEOSEARCHSTORE e g FROMLONLAT 15 37 BYRADIUS 300 km STOREDIST; ZRANGE e 0 -1 WITHSCORES; GEORADIUS g 15 37 200 km STORE s STOREDIST t; EXISTS s
    ZRANGE t 0 -1 WITHSCORES; GEORADIUSBYMEMBER g P 500 km STOREDIST u; ZRANGE u 0 -1 WITHSCORES; GEORADIUS g 15 37 200 km STOREDIST
    GEOSEARCHSTORE d g FROMLONLAT 0 0 BYRADIUS 1 m; EXISTS d; GEORADIUS g 15 37 200 km STORE d; TYPE d; GEOADD g 200 0 x; GEOADD g XX 1 1 P
    GEOSEARCH g FROMMEMBER none BYRADIUS 1 km; GEORADIUSBYMEMBER g P 9 km; SET s 1; GEOADD s 1 1 m; GEODIST s a b; GEOPOS none a`,
  ],
  [
    'hyperloglog',
    'counts, merges, and is a string',
    `
    PFADD h a b c; PFADD h a; PFADD e; EXISTS e; PFCOUNT h e; PFCOUNT none; PFMERGE d h e; PFCOUNT d; TYPE d; SET s text; PFADD s a; PFCOUNT s
    PFMERGE s h; PFMERGE none; EXISTS none; LPUSH l x; PFADD l a; PFCOUNT l h; PFADD h d; PFCOUNT h`,
  ],
];

function commandsOf(line: string): readonly (readonly string[])[] {
  return line
    .split(';')
    .map((command) => command.trim().match(/'[^']*'|\S+/g) ?? [])
    .map((words) => words.map((word) => word.replaceAll("'", '')));
}

describe.each(['together', 'apart'])('commands %s', (way) => {
  it.each(scenarios)('of a %s: %s', async (_family, _claim, script) => {
    const lines = script.trim().split('\n');
    const steps = lines.map((line) => ({
      together: way === 'together',
      commands: commandsOf(line),
    }));
    await oracle.agree(steps);
  });
});

describe('a stream by the clock of the coordinator', () => {
  const run = (...commands: readonly string[]) =>
    oracle.run({ together: true, commands: commands.map((words) => words.split(' ')) });

  it('gets the next id if it is ahead of the clock', async () => {
    await oracle.agree([]);
    const ahead = Date.now() + 3_600_000;
    const [, first, second] = await run(`XADD s ${ahead}-5 f v`, 'XADD s * f v', 'XADD s * f v');
    expect([first, second]).toEqual([`${ahead}-6`, `${ahead}-7`]);
    await oracle.end();
  });

  it('gets an id of the clock if it is behind', async () => {
    await oracle.agree([]);
    const before = Date.now();
    const [id] = await run('XADD s * f v');
    const ms = Number(String(id).split('-')[0]);
    expect(ms).toBeGreaterThanOrEqual(before);
    expect(ms).toBeLessThanOrEqual(Date.now());
    await oracle.end();
  });

  it('records deliveries at the same time in all regions, and at none that their clocks have not reached', async () => {
    await oracle.agree([]);
    const before = Date.now();
    await run('XGROUP CREATE s g 0 MKSTREAM', 'XADD s 1-1 f v', 'XREADGROUP GROUP g c STREAMS s >');
    const after = Date.now();
    await oracle.end();
    const full = JSON.stringify(await oracle.staged.call('XINFO', 'STREAM', 's', 'FULL'));
    const [, delivered = ''] = /"1-1","c","(\d{13})"/.exec(full) ?? [];
    expect(Number(delivered)).toBeGreaterThanOrEqual(before - limits.clockSkewMs);
    expect(Number(delivered)).toBeLessThanOrEqual(after - limits.clockSkewMs);
  });
});
