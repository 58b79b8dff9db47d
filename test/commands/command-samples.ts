/** A sample of every supported command, and shortcuts that compile one operation. */
import { type Compiled, compileWrite } from '../../shared/commands/compile.ts';
import { findCommand } from '../../shared/commands/table.ts';
import { type ScriptLookup, scriptOf } from '../../shared/commands/user-scripts.ts';
import type { Operation } from '../../shared/contracts/frame.ts';

export const now = 1_800_000_000_000;

/** A lookup with one script, which only reads, under a digest that is not its own. */
export const knownSha = 'f0'.repeat(20);
const scripts: ScriptLookup = {
  evaluated: (text) => scriptOf(text, knownSha),
  find: (sha) => (sha === knownSha ? scriptOf('return', sha) : null),
};
export const context = { now, seed: () => 42, scripts };

/** Compiles one operation given as words, and expects it to be accepted. */
export function operationOf(words: string): Operation {
  const compiled = compileWrite([words.split(' ')], [], context);
  if (!compiled.ok) throw new Error(compiled.detail);
  const [operation] = compiled.operations;
  if (operation === undefined) throw new Error('one command gives one operation');
  return operation;
}

/** Compiles one operation given as words, and expects it to be refused. */
export function refusalOf(words: string | readonly string[]): Compiled & { readonly ok: false } {
  const op = typeof words === 'string' ? words.split(' ') : words;
  const compiled = compileWrite([op], [], context);
  if (compiled.ok) throw new Error(`${op.join(' ')} is taken`);
  return compiled;
}

export function keysAt(operation: Operation, positions: readonly number[]): readonly string[] {
  return positions.map((position) => operation.args[position] ?? '');
}

/**
 * One well-formed use of every supported command, its words separated by spaces. The keys are named `from`, `from2`
 * if they are only read and `to`, `to2` if they may be changed; so is the channel of a message.
 */
export const samples: readonly string[] = `
GET from|GETRANGE from 0 -1|LCS from from2 LEN|MGET from from2|STRLEN from|SUBSTR from 0 -1
APPEND to v|DECR to|DECRBY to 2|GETDEL to|GETEX to PERSIST|GETSET to v|INCR to|INCRBY to 2|INCRBYFLOAT to 0.5
MSET to v to2 v|MSETNX to v to2 v|PSETEX to 10 v|SET to v|SETEX to 10 v|SETNX to v|SETRANGE to 1 v
BITCOUNT from|BITFIELD_RO from GET u8 0|BITPOS from 1|GETBIT from 1|BITFIELD to SET u8 0 1|BITOP AND to from from2
SETBIT to 1 1
EXISTS from from2|EXPIRETIME from|PEXPIRETIME from|PTTL from|TOUCH from from2|TTL from|TYPE from
COPY from to REPLACE|DEL to to2|EXPIRE to 10|EXPIREAT to 10 NX|PERSIST to|PEXPIRE to 10|PEXPIREAT to 10|RENAME to to2
RENAMENX to to2|UNLINK to to2|FLUSHALL|FLUSHDB ASYNC|DBSIZE|KEYS *|RANDOMKEY|SCAN 0 MATCH * COUNT 10|SORT from LIMIT 0 2 STORE to|SORT_RO from DESC
HEXISTS from f|HGET from f|HGETALL from|HKEYS from|HLEN from|HMGET from f g|HRANDFIELD from 2|HSCAN from 0|HSTRLEN from f
HVALS from|HDEL to f|HINCRBY to f 1|HINCRBYFLOAT to f 0.5|HMSET to f v|HSET to f v g v|HSETNX to f v
SCARD from|SDIFF from from2|SINTER from from2|SINTERCARD 2 from from2 LIMIT 1|SISMEMBER from m|SMEMBERS from
SMISMEMBER from m n|SRANDMEMBER from|SSCAN from 0|SUNION from from2|SADD to m n|SDIFFSTORE to from from2
SINTERSTORE to from from2|SMOVE to to2 m|SPOP to|SREM to m|SUNIONSTORE to from from2
ZCARD from|ZCOUNT from 0 1|ZDIFF 2 from from2|ZINTER 2 from from2 WITHSCORES|ZINTERCARD 2 from from2|ZLEXCOUNT from - +
ZMSCORE from m n|ZRANDMEMBER from|ZRANGE from 0 -1|ZRANGEBYLEX from - +|ZRANGEBYSCORE from 0 1|ZRANK from m
ZREVRANGE from 0 -1|ZREVRANGEBYLEX from + -|ZREVRANGEBYSCORE from 1 0|ZREVRANK from m|ZSCAN from 0|ZSCORE from m
ZUNION 1 from|ZADD to 1 m|ZDIFFSTORE to 2 from from2|ZINCRBY to 1 m|ZINTERSTORE to 2 from from2 AGGREGATE MAX
ZMPOP 2 to to2 MIN COUNT 2|ZPOPMAX to|ZPOPMIN to 2|ZRANGESTORE to from 0 1|ZREM to m|ZREMRANGEBYLEX to - +
ZREMRANGEBYRANK to 0 1|ZREMRANGEBYSCORE to 0 1|ZUNIONSTORE to 2 from from2 WEIGHTS 1 2
LINDEX from 0|LLEN from|LPOS from v|LRANGE from 0 -1|LINSERT to BEFORE v w|LMOVE to to2 LEFT RIGHT
LMPOP 2 to to2 LEFT|LPOP to|LPUSH to v w|LPUSHX to v|LREM to 0 v|LSET to 0 v|LTRIM to 0 1|RPOP to 2|RPOPLPUSH to to2
RPUSH to v|RPUSHX to v
JSON.ARRINDEX from $ 1|JSON.ARRLEN from|JSON.GET from $|JSON.MGET from from2 $|JSON.OBJKEYS from|JSON.OBJLEN from|JSON.RESP from
JSON.STRLEN from|JSON.TYPE from|JSON.ARRAPPEND to $ 1|JSON.ARRINSERT to $ 0 1|JSON.ARRPOP to|JSON.ARRTRIM to $ 0 1|JSON.CLEAR to
JSON.DEL to $.a|JSON.FORGET to|JSON.MERGE to $ {}|JSON.MSET to $ 1 to2 $ 2|JSON.NUMINCRBY to $ 1|JSON.NUMMULTBY to $ 2
JSON.SET to $ {} NX|JSON.STRAPPEND to $ "a"|JSON.TOGGLE to $
MEMORY USAGE from SAMPLES 5|XINFO STREAM from|XLEN from|XPENDING from g|XRANGE from - +|XREAD COUNT 2 STREAMS from from2 0 0|XREVRANGE from + -
XACK to g 1-1|XADD to NOMKSTREAM MAXLEN ~ 9 * f v|XAUTOCLAIM to g c 0 0 COUNT 2|XCLAIM to g c 0 1-1 JUSTID|XDEL to 1-1
XGROUP CREATE to g 0 MKSTREAM|XREADGROUP GROUP g c COUNT 1 STREAMS to to2 > >|XSETID to 9-9|XTRIM to MAXLEN ~ 9
GEODIST from m n|GEOHASH from m|GEOPOS from m|GEORADIUS_RO from 1 2 3 m|GEORADIUSBYMEMBER_RO from m 3 m
GEOSEARCH from FROMMEMBER m BYRADIUS 3 m|GEOADD to 1 2 m|GEORADIUS from 1 2 3 m STORE to
GEORADIUSBYMEMBER from m 3 m STORE to|GEOSEARCHSTORE to from FROMMEMBER m BYRADIUS 3 m
PFCOUNT from from2|PFADD to a b|PFMERGE to from from2
EVAL return 2 to to2 a b|EVAL_RO return 2 to to2 a|EVALSHA known 1 to a|EVALSHA_RO known 1 to a
PUBSUB NUMSUB c d|PUBLISH to m
`
  .replaceAll('known', knownSha)
  .trim()
  .split(/[|\n]/);

/** The samples that a write may contain. */
export const writable = samples.filter((words) => {
  const row = findCommand(words.split(' ')[0] ?? '');
  return row?.class === 'write' || (row?.class === 'read' && row.refusedInWrites === null);
});
