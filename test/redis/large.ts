import fc from 'fast-check';
import { limits } from '../../shared/limits.ts';
import { commandLike, type Step, stepOf } from './sequences.ts';

/** One type of collection: how a large one is made, and commands of it that mostly address its elements. */
interface Large {
  readonly make: (key: string, count: number) => readonly string[];
  readonly templates: string;
}

function numbers(count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => index);
}

/** What the placeholders of commands name is among the elements, as are some beyond ASCII. */
const named = ['m', 'n', '7', '', 'ü', '\udcfe'];

function members(count: number): readonly string[] {
  return [...named, ...numbers(count - named.length).map((number) => `e${number}`)];
}

const anyType = `PEXPIREAT $k $t|PEXPIREAT $k $t NX|PEXPIREAT $k $t GT|PEXPIREAT $k $t LT|EXPIRE $k 5000 XX|EXPIRE $k 0|PERSIST $k
EXISTS $k $k|TYPE $k|TOUCH $k|PEXPIRETIME $k|DEL $k|SET $k $v|RENAME $k $k|COPY $k $k REPLACE|INCR $k|SADD $k $m|HSET $k $m $v|ZADD $k $f $m|RPUSH $k $m`;

const larges: readonly Large[] = [
  {
    make: (key, count) => ['HSET', key, ...members(count).flatMap((field, at) => [field, `${at}`])],
    templates: `HSET $k $m $v|HSET $k $m $v $m $v|HSETNX $k $m $v|HGET $k $m|HDEL $k $m $m|HDEL $k $m|HDEL $k e1 e2 e3|HLEN $k|HSET $k e1 $v
HINCRBY $k $m $i|HINCRBYFLOAT $k $m $f|HMGET $k $m $m|HEXISTS $k $m|HSTRLEN $k $m|HMSET $k $m $i $m $f|HINCRBY $k e5 $i|HSET $k $r $v
HGETALL $k|HKEYS $k`,
  },
  {
    make: (key, count) => ['SADD', key, ...members(count)],
    templates: `SADD $k $m $m|SADD $k $m $i|SREM $k $m|SREM $k $m $m e1|SCARD $k|SISMEMBER $k $m|SMISMEMBER $k $m $m|SMOVE $k $k $m|SMOVE $k $k e3
SPOP $k $n|SMEMBERS $k|SUNIONSTORE $k $k $k|SADD $k $r`,
  },
  {
    make: (key, count) => [
      'ZADD',
      key,
      ...members(count).flatMap((member, at) => [String((at % 40) - 20), member]),
    ],
    templates: `ZADD $k $f $m|ZADD $k $f $m $i $m|ZADD $k NX $f $m|ZADD $k XX GT CH $f $m|ZADD $k INCR $f $m|ZADD $k LT $f $m|ZINCRBY $k $f $m
ZREM $k $m $m|ZREM $k e1 e2|ZSCORE $k $m|ZMSCORE $k $m $m|ZCARD $k|ZPOPMIN $k|ZPOPMAX $k $n|ZPOPMIN $k $n|ZPOPMAX $k|ZMPOP 2 $k $k MIN COUNT 2
ZMPOP 1 $k MAX|ZMPOP 1 $k MAX COUNT $n|ZREMRANGEBYRANK $k $n $n|ZREMRANGEBYRANK $k $i $i|ZREMRANGEBYRANK $k 0 9|ZREMRANGEBYRANK $k -3 -1|ZCOUNT $k -inf $f
ZREMRANGEBYSCORE $k -inf (-19|ZREMRANGEBYSCORE $k $f $f|ZREMRANGEBYSCORE $k ($f +inf|ZRANGE $k 0 $n WITHSCORES|ZRANGE $k $n $i REV|ZRANGE $k $i $i
ZREVRANGE $k 0 $n WITHSCORES|ZRANGE $k 17 inf BYSCORE|ZRANGE $k inf 12 BYSCORE REV LIMIT $n $n|ZRANGEBYSCORE $k $f +inf|ZRANGEBYSCORE $k -inf inf LIMIT $n $n
ZREVRANGEBYSCORE $k +inf $f WITHSCORES LIMIT $n $n|ZRANGEBYSCORE $k (5 ($f|ZREVRANGEBYSCORE $k +inf -inf LIMIT $n $n|ZADD $k $f $r
ZRANGE $k 0 -1 WITHSCORES|ZRANK $k $m|ZUNIONSTORE $k 2 $k $k`,
  },
  {
    make: (key, count) => ['RPUSH', key, ...members(count)],
    templates: `RPUSH $k $v $v|LPUSH $k $m|LPUSH $k $v $m $v|LPUSHX $k $v|RPUSHX $k $v $m|LPOP $k|RPOP $k|RPOP $k $n|LPOP $k $n|LPOP $k 40|LINDEX $k $i
LINDEX $k -2|LLEN $k|LSET $k $n $v|LSET $k $i $v|LSET $k -4 $v|LRANGE $k 0 $n|LRANGE $k -3 -1|LRANGE $k $i $n|LTRIM $k $n -2|LTRIM $k $n $i|LTRIM $k 1 -1
LTRIM $k 0 -3|LMOVE $k $k LEFT RIGHT|LMOVE $k $k RIGHT RIGHT|LMOVE $k $k LEFT LEFT|RPOPLPUSH $k $k|LMPOP 2 $k $k LEFT|LMPOP 1 $k RIGHT COUNT $n
LMPOP 2 $k $k RIGHT COUNT 12|LRANGE $k 0 -1|LINSERT $k BEFORE $m $v|RPUSH $k $r`,
  },
  {
    make: (key, count) => [
      'GEOADD',
      key,
      ...members(count).flatMap((member, at) => [`${at % 90}.5`, `${at % 70}.25`, member]),
    ],
    templates: `GEOADD $k $f $n $m|GEOADD $k 13.361389 38.115556 $m 15.087269 37.502669 $m|GEOADD $k NX CH 2.35 48.85 $m|GEOPOS $k $m $m|GEODIST $k $m $m km
GEOHASH $k $m|ZREM $k $m|ZCARD $k|ZSCORE $k $m|GEOSEARCH $k FROMMEMBER $m BYRADIUS 500 km ASC`,
  },
  {
    make: (key, count) => [
      'XADD',
      key,
      ...['1-1', ...numbers(count).flatMap((number) => [`f${number}`, 'v'])],
    ],
    templates: 'XADD $k * $m $v|XLEN $k|XDEL $k 1-1|XTRIM $k MAXLEN 2|XRANGE $k - + COUNT 2',
  },
];

/** On both sides of the limit. */
const counts = fc.constantFrom(-1, 0, 1, 1, 3, 20, 100).map((more) => limits.elementsCopied + more);

const expiries = [
  'PEXPIREAT a 4000000000000',
  'PEXPIREAT b 4000000000001',
  'PEXPIREAT a 5000000000000',
];

function beginningOf({ make }: Large): fc.Arbitrary<Step> {
  const expiry = fc.option(fc.constantFrom(...expiries), { freq: 2, nil: undefined });
  return fc.tuple(counts, counts, fc.boolean(), expiry).map(([first, second, isAlone, given]) => ({
    together: false,
    commands: [
      make('a', first),
      ...(isAlone ? [] : [make('b', second)]),
      ...(given === undefined ? [] : [given.split(' ')]),
    ],
  }));
}

/** Sequences that begin on large collections, and mostly address their elements. */
export const largeSequences: fc.Arbitrary<readonly Step[]> = fc
  .constantFrom(...larges)
  .chain((large) => {
    const choose = (templates: string) =>
      fc.constantFrom(...templates.split(/[|\n]/)).chain(commandLike);
    const command = fc.oneof(
      { weight: 8, arbitrary: choose(large.templates) },
      { weight: 1, arbitrary: choose(anyType) },
    );
    const steps = fc.array(stepOf(command), { minLength: 1, maxLength: 8 });
    return fc.tuple(beginningOf(large), steps).map(([first, rest]) => [first, ...rest]);
  });
