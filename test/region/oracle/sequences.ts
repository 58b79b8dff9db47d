/** Random sequences of commands by family. */
import fc from 'fast-check';

/**
 * Commands by family, with placeholders: $k a key, $v a value, $m a member or field, $i an integer, $f a number, $n a
 * small count, $t a time of expiry in ms, $x an id of a stream, $s a stream with groups, $g a group, $c a consumer,
 * $l a key that may hold a large collection, $r a name that Lockstep uses internally.
 */
const families: readonly string[] = [
  `SET $k $v|SET $k $v NX|SET $k $v XX GET|SET $k $v PXAT $t|SET $k $v EX 5000 GET|SET $k $v KEEPTTL|GET $k|GETDEL $k
APPEND $k $v|INCR $k|INCRBY $k $i|DECRBY $k $i|DECR $k|INCRBYFLOAT $k $f|GETSET $k $v|GETEX $k PXAT $t|GETEX $k PERSIST
SETRANGE $k $n $v|GETRANGE $k $n $i|SUBSTR $k $n $i|STRLEN $k|MSET $k $v $k $v|MSETNX $k $v $k $v|MGET $k $k $k
SETNX $k $v|PSETEX $k 5000000 $v|SETEX $k 5000 $v|LCS $k $k|LCS $k $k LEN|LCS $k $k IDX WITHMATCHLEN|SET $k $i|SET $k $f|PUBLISH $k $v`,
  `SETBIT $k $n 1|SETBIT $k $i 0|GETBIT $k $n|BITCOUNT $k|BITCOUNT $k $i $n BIT|BITPOS $k 1 $n|BITPOS $k 0
BITOP AND $k $k $k|BITOP NOT $k $k|BITOP XOR $k $k $k|BITFIELD $k SET u8 $n $i GET i5 $n|BITFIELD $k INCRBY i16 #1 $i
BITFIELD $k SET i64 #1 $i GET u63 $n INCRBY i64 #0 $i|BITFIELD $k OVERFLOW SAT INCRBY i60 $n $i SET u57 3 $i
BITFIELD $k OVERFLOW FAIL INCRBY u62 $n $i GET i64 $n SET i64 $n $i|BITFIELD $k SET i64 0 -9223372036854775808 GET i64 0
BITFIELD $k OVERFLOW FAIL INCRBY u4 $n $i OVERFLOW SAT INCRBY u4 $n $i|BITFIELD_RO $k GET u8 $n`,
  `DEL $k $k|UNLINK $k|EXISTS $k $k|TYPE $k|RENAME $k $k|RENAMENX $k $k|COPY $k $k|COPY $k $k REPLACE|PERSIST $k
PEXPIREAT $k $t|PEXPIREAT $k $t NX|PEXPIREAT $k $t GT|PEXPIREAT $k $t LT|EXPIRE $k 5000 XX|EXPIRE $k 900 GT|EXPIRE $k x|EXPIRE $k 0 LT|PEXPIRE $k -1
TOUCH $k $k|FLUSHDB|FLUSHDB async|FLUSHDB now|EXPIREAT $k 5000000000|SORT $k|SORT $k DESC LIMIT $n $n|SORT $k ALPHA STORE $k|SORT $k STORE $k|SORT_RO $k`,
  `HSET $k $m $v|HSET $k $m $v $m $v|HSETNX $k $m $v|HGET $k $m|HDEL $k $m $m|HGETALL $k|HKEYS $k|HVALS $k|HLEN $k
HINCRBY $k $m $i|HINCRBYFLOAT $k $m $f|HMGET $k $m $m|HEXISTS $k $m|HSTRLEN $k $m|HMSET $k $m $i $m $f`,
  `SADD $k $m $m|SADD $k $m $i|SREM $k $m|SMEMBERS $k|SCARD $k|SISMEMBER $k $m|SMISMEMBER $k $m $m|SMOVE $k $k $m
SUNION $k $k|SINTER $k $k|SDIFF $k $k|SUNIONSTORE $k $k $k|SINTERSTORE $k $k $k|SDIFFSTORE $k $k $k|SINTERCARD 2 $k $k
SINTERCARD 2 $k $k LIMIT $n|SPOP $k|SPOP $k $n`,
  `ZADD $k $f $m|ZADD $k $f $m $i $m|ZADD $k NX $f $m|ZADD $k XX GT CH $f $m|ZADD $k INCR $f $m|ZINCRBY $k $f $m
ZREM $k $m $m|ZSCORE $k $m|ZMSCORE $k $m $m|ZCARD $k|ZCOUNT $k -inf $f|ZRANGE $k 0 -1 WITHSCORES|ZRANGE $k $n $i REV
ZRANGE $k -inf ($f BYSCORE LIMIT $n $n|ZRANGEBYSCORE $k $f +inf|ZREVRANGEBYSCORE $k +inf $f WITHSCORES LIMIT $n $n
ZRANGESTORE $k $k 0 $n|ZRANGESTORE $k $k $f +inf BYSCORE|ZRANK $k $m|ZREVRANK $k $m|ZPOPMIN $k|ZPOPMAX $k $n
ZMPOP 2 $k $k MIN COUNT 2|ZMPOP 1 $k MAX|ZREMRANGEBYRANK $k $n $i|ZREMRANGEBYSCORE $k ($f +inf|ZREVRANGE $k 0 -1|ZLEXCOUNT $k [a +
ZRANGEBYLEX $k - [n|ZREVRANGEBYLEX $k + (m LIMIT 0 $n|ZREMRANGEBYLEX $k [n +
ZUNIONSTORE $k 2 $k $k|ZUNIONSTORE $k 2 $k $k WEIGHTS $f $i AGGREGATE MAX|ZINTERSTORE $k 2 $k $k AGGREGATE MIN
ZDIFFSTORE $k 2 $k $k|ZUNION 2 $k $k WITHSCORES|ZINTER 2 $k $k|ZDIFF 2 $k $k|ZINTERCARD 2 $k $k LIMIT $n`,
  `RPUSH $k $v $v|LPUSH $k $m|LPUSHX $k $v|RPUSHX $k $v|LPOP $k|RPOP $k $n|LRANGE $k 0 -1|LINDEX $k $i|LLEN $k|LSET $k $n $v
LINSERT $k BEFORE $m $v|LINSERT $k AFTER $m $v|LREM $k $i $m|LTRIM $k $n $i|LMOVE $k $k LEFT RIGHT|LMOVE $k $k RIGHT RIGHT
RPOPLPUSH $k $k|LMPOP 2 $k $k LEFT|LMPOP 1 $k RIGHT COUNT $n|LPOS $k $m|LPOS $k $m RANK $i COUNT 0 MAXLEN $n|RPUSH $k $i $f`,
  `XADD $k * $m $v|XADD $k $x $m $v|XADD $k NOMKSTREAM $x $m $v|XADD $k MAXLEN 3 $x $m $v|XADD $k MINID = $x * $m $v
XADD $k 7-* $m $v|XLEN $k|XDEL $k $x $x|XTRIM $k MAXLEN $n|XTRIM $k MINID $x|XRANGE $k - +|XRANGE $k ($x + COUNT $n
XREVRANGE $k + -|XREAD COUNT $n STREAMS $k $k 0 $x|XREAD STREAMS $k $|XSETID $k $x|XSETID $k $x ENTRIESADDED $n MAXDELETEDID $x`,
  `XGROUP CREATE $s $g 0 MKSTREAM|XGROUP CREATE $s $g $x|XGROUP CREATE $s $g $ ENTRIESREAD $n|XGROUP SETID $s $g $x|XDEL $s $x
XGROUP DESTROY $s $g|XGROUP CREATECONSUMER $s $g $c|XGROUP DELCONSUMER $s $g $c|XREADGROUP GROUP $g $c STREAMS $s >|XTRIM $s MAXLEN $n
XREADGROUP GROUP $g $c COUNT $n STREAMS $s $s > >|XREADGROUP GROUP $g $c NOACK STREAMS $s >|XREADGROUP GROUP $g $c STREAMS $s $x
XACK $s $g $x $x|XPENDING $s $g|XCLAIM $s $g $c 0 $x $x|XCLAIM $s $g $c 5000000 $x $x|XCLAIM $s $g $c 0 $x IDLE 9000000 JUSTID
XCLAIM $s $g $c 0 $x FORCE RETRYCOUNT $n|XAUTOCLAIM $s $g $c 0 0|XAUTOCLAIM $s $g $c 5000000 $x COUNT $n JUSTID|XADD $s * $m $v
XADD $s $x $m $v $m $v|XADD $s * $m $v|XAUTOCLAIM $s $g $c 0 - COUNT $n|XAUTOCLAIM $s $g $c 5000000 0|COPY $s $s REPLACE|RENAME $s $s`,
  `GEOADD $k $f $n $m|GEOADD $k 13.361389 38.115556 $m 15.087269 37.502669 $m|GEOADD $k NX CH 2.35 48.85 $m|GEOPOS $k $m $m
GEODIST $k $m $m km|GEOHASH $k $m|GEOSEARCH $k FROMMEMBER $m BYRADIUS 500 km ASC WITHDIST WITHCOORD
GEOSEARCH $k FROMLONLAT 15 37 BYBOX 900 900 km DESC COUNT $n|GEOSEARCHSTORE $k $k FROMLONLAT 15 37 BYRADIUS 2000 km
GEORADIUS $k 15 37 200 km STORE $k|GEORADIUSBYMEMBER $k $m 2000 km WITHHASH|GEORADIUS_RO $k 15 37 900 km COUNT $n ANY`,
  `PFADD $k $m $m|PFADD $k|PFADD $k $v $i|PFCOUNT $k|PFCOUNT $k $k|PFMERGE $k $k $k|PFMERGE $k`,
];

/**
 * Optional first commands of a sequence, by family and in the same order: values on which more of its commands have
 * an effect.
 */
const beginnings: readonly string[] = [
  'SET a 10 PXAT 4000000000000|SET b text',
  'SET a abc|SETBIT b 100 1',
  'SET a 1|HSET b f v|RPUSH c 3 1 2|SADD ключ|0 1 2',
  'HSET a m 1 n x',
  'SADD a m n 7|SADD b 7 8',
  'ZADD a 1 m 2 n 2 7|ZADD b 5 m',
  'RPUSH a m n m|RPUSH b 1',
  'XADD a 1-1 m n|XADD a 2-3 m n',
  'XGROUP CREATE a g 0 MKSTREAM|XADD a 1-1 m 1|XADD a 2-3 n 2|XADD a 5-0 n 3|XREADGROUP GROUP g one COUNT 2 STREAMS a >',
  'GEOADD a 13.361389 38.115556 m 15.087269 37.502669 n',
  'PFADD a m n|PFADD b x',
];

const templates = families.map((family) => family.trim().split(/[|\n]/));

/** Times far in the future or in the past; they are far enough away to distinguish them from relative ones. */
const moments = ['1', '4000000000000', '4000000000001', '5000000000000'];

/** There are few large collections, so that commands hit them. */
export const largeKeys = fc.constantFrom('a', 'a', 'a', 'b', 'b', 'c', '');

const words: Readonly<Record<string, fc.Arbitrary<string>>> = {
  $k: fc.constantFrom('a', 'b', 'c', 'ключ|0', ''),
  // The last ones hold bytes that are not valid UTF-8, as halves of characters.
  $v: fc.constantFrom(
    '',
    'v',
    '10',
    '-3',
    '1.5',
    'a b',
    '|s|',
    'é😀',
    'x'.repeat(100),
    '\0\r\n',
    '\udcff\udc80z',
  ),
  $m: fc.constantFrom('m', 'n', '7', '', 'ü', '\udcfe'),
  $i: fc.constantFrom(
    '0',
    '1',
    '-1',
    '2',
    '5',
    '-3',
    '9007199254740993',
    '9223372036854775807',
    'x',
    '+1',
    '01',
    '1.0',
  ),
  $f: fc.constantFrom(
    '0',
    '1',
    '-2.5',
    '0.1',
    '1e3',
    '3.14159265358979',
    '-0',
    'inf',
    'nan',
    'x',
    '1e308',
    '17.5',
  ),
  $n: fc.constantFrom('0', '1', '2', '3', '12', '-1', 'x'),
  $t: fc.constantFrom(...moments),
  $x: fc.constantFrom(
    '1-1',
    '2',
    '2-3',
    '5-0',
    '0-1',
    '0',
    '9-9',
    '18446744073709551615-18446744073709551615',
    'x',
  ),
  $l: largeKeys,
  // The name that Lockstep adds to the shadow of a large collection.
  $r: fc.constant(`lockstep:0:rest${'.'.repeat(60)}`),
  // There are few streams with groups, so that commands hit them.
  $s: fc.constantFrom('a', 'a', 'a', 'b'),
  $g: fc.constantFrom('g', 'g', 'g', 'h'),
  $c: fc.constantFrom('one', 'two'),
};

function wordFor(token: string): fc.Arbitrary<string> {
  const placeholder = /\$[a-z]$/.exec(token)?.[0];
  const arbitrary = placeholder === undefined ? undefined : words[placeholder];
  if (placeholder === undefined || arbitrary === undefined) return fc.constant(token);
  const prefix = token.slice(0, -placeholder.length);
  return arbitrary.map((word) => `${prefix}${word}`);
}

/** Commands like a template with placeholders, sometimes with a word too many or too few. */
export function commandLike(template: string): fc.Arbitrary<readonly string[]> {
  const exact = fc.tuple(...template.split(' ').map(wordFor));
  const other = fc.oneof(
    fc.constantFrom('NX', 'COUNT', '1', 'LIMIT', 'STORE', 'x'),
    words.$k ?? fc.constant('k'),
  );
  return fc.oneof(
    { weight: 30, arbitrary: exact },
    { weight: 1, arbitrary: fc.tuple(exact, other).map(([command, more]) => [...command, more]) },
    { weight: 1, arbitrary: exact.map(([name = '', ...rest]) => [name, ...rest.slice(0, -1)]) },
  );
}

const everything = fc.constantFrom(...templates.flat()).chain(commandLike);

/** Commands of a step: one write that continues on errors, or a write per command in one transaction. */
export interface Step {
  readonly together: boolean;
  readonly commands: readonly (readonly string[])[];
}

/** Steps of such commands. */
export function stepOf(command: fc.Arbitrary<readonly string[]>): fc.Arbitrary<Step> {
  return fc.record({
    together: fc.boolean(),
    commands: fc.array(command, { minLength: 1, maxLength: 5 }),
  });
}

/** Most commands are of one family, so that they find values of their type. */
export const sequences: fc.Arbitrary<readonly Step[]> = fc
  .nat(templates.length - 1)
  .chain((which) => {
    const own = fc.constantFrom(...(templates[which] ?? [])).chain(commandLike);
    const command = fc.oneof({ weight: 6, arbitrary: own }, { weight: 1, arbitrary: everything });
    const steps = fc.array(stepOf(command), { minLength: 1, maxLength: 8 });
    return fc
      .tuple(fc.boolean(), steps)
      .map(([isBegun, rest]) => (isBegun ? [beginning(which), ...rest] : rest));
  });

function beginning(which: number): Step {
  const commands = (beginnings[which] ?? '').split(/\|(?=[A-Z])/).map((words) => words.split(' '));
  return { together: false, commands };
}
