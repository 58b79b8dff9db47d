/**
 * The command table: every command of Redis 7.0, with its keys, its rewrite and the reason if it is refused.
 */
import { blocking, type CommandRow, floating, read, refused, write } from './rows.ts';
import { jsonRows } from './table-json.ts';
import { refusedRows } from './table-refused.ts';
import { structureRows } from './table-structures.ts';

const random = 'its reply is random and would differ between regions; use it in POST /v1/reads';
const cursor = 'its cursor is valid in one region only; use it in POST /v1/reads';
const lexical =
  'As in Redis, all members must have the same score; otherwise the range is undefined, and regions may differ.';
const wholeDatabase =
  'it covers all keys of a region, not only the keys of the write; use it in POST /v1/reads';
const visible =
  'It covers the keys of one region, without Lockstep’s own keys, and scans all of them.';

/** Commands of Redis 7.4 and 8 that let fields of hashes expire. */
const fieldExpiry =
  'HEXPIRE HEXPIREAT HEXPIRETIME HGETDEL HGETEX HPERSIST HPEXPIRE HPEXPIREAT HPEXPIRETIME HPTTL HSETEX HTTL';

const strings: readonly CommandRow[] = [
  read('string', 'GET', 2),
  read('string', 'GETRANGE', 4),
  read('string', 'LCS', -3),
  read('string', 'MGET', -2),
  read('string', 'STRLEN', 2),
  read('string', 'SUBSTR', 4),
  write('string', 'APPEND', 3),
  write('string', 'DECR', 2, { reply: 'exact' }),
  write('string', 'DECRBY', 3, { reply: 'exact' }),
  write('string', 'GETDEL', 2),
  write('string', 'GETEX', -2, { rewrite: 'getex' }),
  write('string', 'GETSET', 3),
  write('string', 'INCR', 2, { reply: 'exact' }),
  write('string', 'INCRBY', 3, { reply: 'exact' }),
  write('string', 'INCRBYFLOAT', 3, { note: floating }),
  write('string', 'MSET', -3, { pairsFrom: 1 }),
  write('string', 'MSETNX', -3, { pairsFrom: 1 }),
  write('string', 'PSETEX', 4, { rewrite: 'set-for' }),
  write('string', 'SET', -3, { rewrite: 'set' }),
  write('string', 'SETEX', 4, { rewrite: 'set-for' }),
  write('string', 'SETNX', 3),
  write('string', 'SETRANGE', 4, { rewrite: 'reach' }),
];

const bitmaps: readonly CommandRow[] = [
  read('bitmap', 'BITCOUNT', -2),
  read('bitmap', 'BITFIELD_RO', -2, { rewrite: 'wide-bits' }),
  read('bitmap', 'BITPOS', -3),
  read('bitmap', 'GETBIT', 3),
  write('bitmap', 'BITFIELD', -2, { rewrite: 'wide-bits' }),
  write('bitmap', 'BITOP', -4, { written: 'first' }),
  write('bitmap', 'SETBIT', 4, { rewrite: 'reach' }),
];

const keys: readonly CommandRow[] = [
  read('key', 'EXISTS', -2, { addresses: 'none' }),
  read('key', 'EXPIRETIME', 2, { addresses: 'none', rewrite: 'ttl' }),
  read('key', 'PEXPIRETIME', 2, { addresses: 'none', rewrite: 'ttl' }),
  read('key', 'PTTL', 2, { addresses: 'none', rewrite: 'ttl' }),
  read('key', 'TOUCH', -2, { addresses: 'none' }),
  read('key', 'TTL', 2, { addresses: 'none', rewrite: 'ttl' }),
  read('key', 'TYPE', 2, { addresses: 'none' }),
  write('key', 'COPY', -3, { written: 'last', rewrite: 'one-database' }),
  write('key', 'DEL', -2, { rewrite: 'delete' }),
  write('key', 'EXPIRE', -3, { addresses: 'expiry', rewrite: 'expire' }),
  write('key', 'EXPIREAT', -3, { addresses: 'expiry', rewrite: 'expire' }),
  write('key', 'PERSIST', 2, { addresses: 'expiry' }),
  write('key', 'PEXPIRE', -3, { addresses: 'expiry', rewrite: 'expire' }),
  write('key', 'PEXPIREAT', -3, { addresses: 'expiry', rewrite: 'expire' }),
  write('key', 'RENAME', 3),
  write('key', 'RENAMENX', 3),
  write('key', 'UNLINK', -2, { rewrite: 'delete' }),
  read('key', 'DBSIZE', 1, { refusedInWrites: wholeDatabase, note: visible }),
  read('key', 'KEYS', 2, { refusedInWrites: wholeDatabase, note: visible }),
  read('key', 'RANDOMKEY', 1, { refusedInWrites: wholeDatabase, note: visible }),
  read('key', 'SCAN', -2, { refusedInWrites: cursor, note: visible }),
  read('key', 'SORT_RO', -2, { keysAt: 'first', rewrite: 'sort' }),
  write('key', 'SORT', -2, { keysAt: 'store', written: 'second', rewrite: 'sort' }),
  write('key', 'FLUSHALL', -1, { rewrite: 'flush' }),
  write('key', 'FLUSHDB', -1, { rewrite: 'flush' }),
  ...refused('key', 'SWAPDB', 'a region is one database'),
  ...refused('key', 'MOVE', 'a region is one database; use RENAME or COPY'),
  ...refused(
    'key',
    'DUMP MIGRATE OBJECT RESTORE RESTORE-ASKING',
    'it exposes the internal encoding of one server, which may differ between regions',
  ),
  ...refused('key', 'WAIT', 'it is not needed: a committed write is in every region'),
];

const hashes: readonly CommandRow[] = [
  read('hash', 'HEXISTS', 3, { addresses: 'first' }),
  read('hash', 'HGET', 3, { addresses: 'first' }),
  read('hash', 'HGETALL', 2, { reply: 'pairs' }),
  read('hash', 'HKEYS', 2, { reply: 'members' }),
  read('hash', 'HLEN', 2, { addresses: 'none' }),
  read('hash', 'HMGET', -3, { addresses: 'all' }),
  read('hash', 'HRANDFIELD', -2, { refusedInWrites: random, rewrite: 'draws' }),
  read('hash', 'HSCAN', -3, { refusedInWrites: cursor, rewrite: 'scan' }),
  read('hash', 'HSTRLEN', 3, { addresses: 'first' }),
  read('hash', 'HVALS', 2, { reply: 'members' }),
  write('hash', 'HDEL', -3, { addresses: 'all' }),
  write('hash', 'HINCRBY', 4, { addresses: 'first', reply: 'exact-field' }),
  write('hash', 'HINCRBYFLOAT', 4, { addresses: 'first', note: floating }),
  write('hash', 'HMSET', -4, { addresses: 'pairs', pairsFrom: 2 }),
  write('hash', 'HSET', -4, { addresses: 'pairs', pairsFrom: 2 }),
  ...refused(
    'hash',
    fieldExpiry,
    'fields of a hash expire by the clock of each region, so regions would reply differently; store each field in its own key with a TTL, or store the expiry time as a value',
  ),
  write('hash', 'HSETNX', 4, { addresses: 'first' }),
];

const sets: readonly CommandRow[] = [
  read('set', 'SCARD', 2, { addresses: 'none' }),
  read('set', 'SDIFF', -2, { reply: 'members' }),
  read('set', 'SINTER', -2, { reply: 'members' }),
  read('set', 'SINTERCARD', -3, { keyCountAt: 1 }),
  read('set', 'SISMEMBER', 3, { addresses: 'first' }),
  read('set', 'SMEMBERS', 2, { reply: 'members' }),
  read('set', 'SMISMEMBER', -3, { addresses: 'all' }),
  read('set', 'SRANDMEMBER', -2, { refusedInWrites: random, rewrite: 'draws' }),
  read('set', 'SSCAN', -3, { refusedInWrites: cursor }),
  read('set', 'SUNION', -2, { reply: 'members' }),
  write('set', 'SADD', -3, { addresses: 'all' }),
  write('set', 'SDIFFSTORE', -3, { written: 'first' }),
  write('set', 'SINTERSTORE', -3, { written: 'first' }),
  write('set', 'SMOVE', 4, { addresses: 'second' }),
  write('set', 'SPOP', -2, { rewrite: 'pop' }),
  write('set', 'SREM', -3, { addresses: 'all' }),
  write('set', 'SUNIONSTORE', -3, { written: 'first' }),
];

const sortedSets: readonly CommandRow[] = [
  read('sorted set', 'ZCARD', 2, { addresses: 'none' }),
  read('sorted set', 'ZCOUNT', 4, { addresses: 'range' }),
  read('sorted set', 'ZDIFF', -3, { keyCountAt: 1 }),
  read('sorted set', 'ZINTER', -3, { keyCountAt: 1 }),
  read('sorted set', 'ZINTERCARD', -3, { keyCountAt: 1 }),
  read('sorted set', 'ZLEXCOUNT', 4, { note: lexical }),
  read('sorted set', 'ZMSCORE', -3, { addresses: 'all' }),
  read('sorted set', 'ZRANDMEMBER', -2, { refusedInWrites: random, rewrite: 'draws' }),
  read('sorted set', 'ZRANGE', -4, { addresses: 'range' }),
  read('sorted set', 'ZRANGEBYLEX', -4, { note: lexical }),
  read('sorted set', 'ZRANGEBYSCORE', -4, { addresses: 'range' }),
  read('sorted set', 'ZRANK', 3),
  read('sorted set', 'ZREVRANGE', -4, { addresses: 'range' }),
  read('sorted set', 'ZREVRANGEBYLEX', -4, { note: lexical }),
  read('sorted set', 'ZREVRANGEBYSCORE', -4, { addresses: 'range' }),
  read('sorted set', 'ZREVRANK', 3),
  read('sorted set', 'ZSCAN', -3, { refusedInWrites: cursor }),
  read('sorted set', 'ZSCORE', 3, { addresses: 'first' }),
  read('sorted set', 'ZUNION', -3, { keyCountAt: 1 }),
  write('sorted set', 'ZADD', -4, { addresses: 'scored' }),
  write('sorted set', 'ZDIFFSTORE', -4, { written: 'first', keyCountAt: 2 }),
  write('sorted set', 'ZINCRBY', 4, { addresses: 'second' }),
  write('sorted set', 'ZINTERSTORE', -4, { written: 'first', keyCountAt: 2 }),
  write('sorted set', 'ZMPOP', -4, { addresses: 'popOfSome', keyCountAt: 1 }),
  write('sorted set', 'ZPOPMAX', -2, { addresses: 'end' }),
  write('sorted set', 'ZPOPMIN', -2, { addresses: 'end' }),
  write('sorted set', 'ZRANGESTORE', -5, { written: 'first' }),
  write('sorted set', 'ZREM', -3, { addresses: 'all' }),
  write('sorted set', 'ZREMRANGEBYLEX', 4, { note: lexical }),
  write('sorted set', 'ZREMRANGEBYRANK', 4, { addresses: 'range' }),
  write('sorted set', 'ZREMRANGEBYSCORE', 4, { addresses: 'range' }),
  write('sorted set', 'ZUNIONSTORE', -4, { written: 'first', keyCountAt: 2 }),
  ...blocking('sorted set', 'BZMPOP', 'ZMPOP'),
  ...blocking('sorted set', 'BZPOPMAX', 'ZPOPMAX'),
  ...blocking('sorted set', 'BZPOPMIN', 'ZPOPMIN'),
];

const lists: readonly CommandRow[] = [
  read('list', 'LINDEX', 3, { addresses: 'index' }),
  read('list', 'LLEN', 2, { addresses: 'none' }),
  read('list', 'LPOS', -3),
  read('list', 'LRANGE', 4, { addresses: 'range' }),
  write('list', 'LINSERT', 5),
  write('list', 'LMOVE', 5, { addresses: 'move' }),
  write('list', 'LMPOP', -4, { addresses: 'popOfSome', keyCountAt: 1 }),
  write('list', 'LPOP', -2, { addresses: 'pop' }),
  write('list', 'LPUSH', -3, { addresses: 'push' }),
  write('list', 'LPUSHX', -3, { addresses: 'push' }),
  write('list', 'LREM', 4),
  write('list', 'LSET', 4, { addresses: 'index' }),
  write('list', 'LTRIM', 4, { addresses: 'trim' }),
  write('list', 'RPOP', -2, { addresses: 'pop' }),
  write('list', 'RPOPLPUSH', 3, { addresses: 'move' }),
  write('list', 'RPUSH', -3, { addresses: 'push' }),
  write('list', 'RPUSHX', -3, { addresses: 'push' }),
  ...blocking('list', 'BLMOVE', 'LMOVE'),
  ...blocking('list', 'BLMPOP', 'LMPOP'),
  ...blocking('list', 'BLPOP', 'LPOP'),
  ...blocking('list', 'BRPOP', 'RPOP'),
  ...blocking('list', 'BRPOPLPUSH', 'RPOPLPUSH'),
];

const readOnly = 'The script fails at its first command that would change data.';
const byDigest =
  'Lockstep stores the texts of scripts itself. It replies NOSCRIPT if it has no script of that digest, as Redis does.';
const scripted = { keysAt: 'counted', rewrite: 'script' } as const;

const scriptRows: readonly CommandRow[] = [
  read('script', 'EVAL_RO', -3, { ...scripted, note: readOnly }),
  read('script', 'EVALSHA_RO', -3, { ...scripted, note: `${readOnly} ${byDigest}` }),
  write('script', 'EVAL', -3, scripted),
  write('script', 'EVALSHA', -3, { ...scripted, note: byDigest }),
];

/**
 * Every command that Redis 7.0 lists, the commands of JSON documents, and the commands that let fields expire, one row
 * each; a container of subcommands is one row.
 */
export const commandTable: readonly CommandRow[] = [
  ...strings,
  ...bitmaps,
  ...keys,
  ...hashes,
  ...sets,
  ...sortedSets,
  ...lists,
  ...structureRows,
  ...scriptRows,
  ...jsonRows,
  ...refusedRows,
];

// A Map, not an object: `constructor` is not a command.
const rows: ReadonlyMap<string, CommandRow> = new Map(commandTable.map((row) => [row.name, row]));

/** The row of the command `name`, in any case, or null if Redis 7.0 has no such command. */
export function findCommand(name: string): CommandRow | null {
  // Some letters beyond ASCII have an ASCII letter as their upper case; such a name is not a command.
  return /^[a-z._-]+$/i.test(name) ? (rows.get(name.toUpperCase()) ?? null) : null;
}
