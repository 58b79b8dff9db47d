/** Random sequences of commands on large collections. */
import fc from 'fast-check';
import { limits } from '../../../shared/limits.ts';
import { commandLike, type Step, stepOf } from './sequences.ts';

/** A type of collection: the command that makes a large one, and commands that mostly address its elements. */
export interface Large {
  readonly make: (key: string, count: number) => readonly string[];
  readonly templates: string;
}

function numbers(count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => index);
}

/** The elements include those of the placeholders of commands, and some beyond ASCII. */
const named = ['m', 'n', '7', '', 'ü', '\udcfe'];

function members(count: number): readonly string[] {
  return [...named, ...numbers(count - named.length).map((number) => `e${number}`)];
}

/** Enough elements that removing them empties some collections, and almost empties others. */
const most = members(limits.elementsCopied + 3).join(' ');

/** Elements that commands name are at both ends. */
function scoreAt(at: number): string {
  if (at < named.length) return String(at < 3 ? -30 - at : 30 + at);
  return String((at % 40) - 20);
}

const anyType = `PEXPIREAT $l $t|PEXPIREAT $l $t NX|PEXPIREAT $l $t GT|PEXPIREAT $l $t LT|EXPIREAT $l 5000000000 XX|EXPIRE $l 0|PERSIST $l
EXISTS $l $l|TYPE $l|TOUCH $l|PEXPIRETIME $l|PEXPIRETIME $l|EXPIRETIME $l|DEL $l|SET $l $v|RENAME $l $l|COPY $l $l REPLACE|INCR $l|SADD $l $m|HSET $l $m $v|ZADD $l $f $m|RPUSH $l $m`;

/** Collections of every type. */
export const largeValues: readonly Large[] = [
  {
    make: (key, count) => ['HSET', key, ...members(count).flatMap((field, at) => [field, `${at}`])],
    templates: `HSET $l $m $v|HSET $l $m $v $m $v|HSETNX $l $m $v|HGET $l $m|HDEL $l $m $m|HDEL $l $m|HDEL $l e1 e2 e3|HLEN $l|HSET $l e1 $v
HINCRBY $l $m $i|HINCRBYFLOAT $l $m $f|HMGET $l $m $m|HEXISTS $l $m|HSTRLEN $l $m|HMSET $l $m $i $m $f|HINCRBY $l e5 $i|HSET $l $r $v
HGETALL $l|HKEYS $l|HDEL $l ${most}`,
  },
  {
    make: (key, count) => ['SADD', key, ...members(count)],
    templates: `SADD $l $m $m|SADD $l $m $i|SREM $l $m|SREM $l $m $m e1|SCARD $l|SISMEMBER $l $m|SMISMEMBER $l $m $m|SMOVE $l $l $m|SMOVE $l $l e3
SPOP $l $n|SMEMBERS $l|SUNIONSTORE $l $l $l|SADD $l $r|SREM $l ${most}`,
  },
  {
    make: (key, count) => [
      'ZADD',
      key,
      ...members(count).flatMap((member, at) => [scoreAt(at), member]),
    ],
    templates: `ZADD $l $f $m|ZADD $l $f $m $i $m|ZADD $l NX $f $m|ZADD $l XX GT CH $f $m|ZADD $l INCR $f $m|ZADD $l LT $f $m|ZINCRBY $l $f $m
ZREM $l $m $m|ZREM $l e1 e2|ZSCORE $l $m|ZMSCORE $l $m $m|ZCARD $l|ZPOPMIN $l|ZPOPMAX $l $n|ZPOPMIN $l $n|ZPOPMAX $l|ZMPOP 2 $l $l MIN COUNT 2
ZMPOP 1 $l MAX|ZMPOP 1 $l MAX COUNT $n|ZREMRANGEBYRANK $l $n $n|ZREMRANGEBYRANK $l $i $i|ZREMRANGEBYRANK $l 0 9|ZREMRANGEBYRANK $l -3 -1|ZCOUNT $l -inf $f
ZREMRANGEBYSCORE $l -inf (-19|ZREMRANGEBYSCORE $l $f $f|ZREMRANGEBYSCORE $l ($f +inf|ZRANGE $l 0 $n WITHSCORES|ZRANGE $l $n $i REV|ZRANGE $l $i $i
ZREVRANGE $l 0 $n WITHSCORES|ZRANGE $l 17 inf BYSCORE|ZRANGE $l inf 12 BYSCORE REV LIMIT $n $n|ZRANGEBYSCORE $l $f +inf|ZRANGEBYSCORE $l -inf inf LIMIT $n $n
ZREVRANGEBYSCORE $l +inf $f WITHSCORES LIMIT $n $n|ZRANGEBYSCORE $l (5 ($f|ZREVRANGEBYSCORE $l +inf -inf LIMIT $n $n|ZADD $l $f $r
ZRANGE $l 0 -1 WITHSCORES|ZRANK $l $m|ZUNIONSTORE $l 2 $l $l|ZREM $l ${most}`,
  },
  {
    make: (key, count) => ['RPUSH', key, ...members(count)],
    templates: `RPUSH $l $v $v|LPUSH $l $m|LPUSH $l $v $m $v|LPUSHX $l $v|RPUSHX $l $v $m|LPOP $l|RPOP $l|RPOP $l $n|LPOP $l $n|LPOP $l 40|LINDEX $l $i
LINDEX $l -2|LLEN $l|LSET $l $n $v|LSET $l $i $v|LSET $l -4 $v|LRANGE $l 0 $n|LRANGE $l -3 -1|LRANGE $l $i $n|LTRIM $l $n -2|LTRIM $l $n $i|LTRIM $l 1 -1
LTRIM $l 0 -3|LMOVE $l $l LEFT RIGHT|LMOVE $l $l RIGHT RIGHT|LMOVE $l $l LEFT LEFT|RPOPLPUSH $l $l|LMPOP 2 $l $l LEFT|LMPOP 1 $l RIGHT COUNT $n
LMPOP 2 $l $l RIGHT COUNT 12|LRANGE $l 0 -1|LINSERT $l BEFORE $m $v|RPUSH $l $r`,
  },
  {
    make: (key, count) => [
      'GEOADD',
      key,
      ...members(count).flatMap((member, at) => [`${at % 90}.5`, `${at % 70}.25`, member]),
    ],
    templates: `GEOADD $l $f $n $m|GEOADD $l 13.361389 38.115556 $m 15.087269 37.502669 $m|GEOADD $l NX CH 2.35 48.85 $m|GEOPOS $l $m $m|GEODIST $l $m $m km
GEOHASH $l $m|ZREM $l $m|ZCARD $l|ZSCORE $l $m|GEOSEARCH $l FROMMEMBER $m BYRADIUS 500 km ASC`,
  },
  {
    make: (key, count) => [
      'XADD',
      key,
      ...['1-1', ...numbers(count).flatMap((number) => [`f${number}`, 'v'])],
    ],
    templates: 'XADD $l * $m $v|XLEN $l|XDEL $l 1-1|XTRIM $l MAXLEN 2|XRANGE $l - + COUNT 2',
  },
];

/** Sizes on both sides of the limit. */
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

function choose(templates: string): fc.Arbitrary<readonly string[]> {
  return fc.constantFrom(...templates.split(/[|\n]/)).chain(commandLike);
}

/** A command that mostly addresses elements of such a collection. */
export function largeCommand({ templates }: Large): fc.Arbitrary<readonly string[]> {
  return fc.oneof(
    { weight: 5, arbitrary: choose(templates) },
    { weight: 1, arbitrary: choose(anyType) },
  );
}

/** Sequences that begin on large collections, and mostly address their elements. */
export const largeSequences: fc.Arbitrary<readonly Step[]> = fc
  .constantFrom(...largeValues)
  .chain((large) => {
    const steps = fc.array(stepOf(largeCommand(large)), { minLength: 1, maxLength: 8 });
    return fc.tuple(beginningOf(large), steps).map(([first, rest]) => [first, ...rest]);
  });
