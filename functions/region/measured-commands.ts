/** The commands whose work a region measures before it runs them. */
import { commandTable } from '../../shared/commands/table.ts';

/** Commands that may take long on their own: work.lua estimates their work from the sizes of their keys first. */
export const measuredCommands: ReadonlySet<string> = new Set(
  (
    'BITOP DBSIZE GEORADIUS GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH GEOSEARCHSTORE HGETALL HKEYS ' +
    'HRANDFIELD HSCAN HVALS KEYS LINSERT LMPOP LPOP LPOS LRANGE LREM RANDOMKEY RPOP SCAN SDIFF SDIFFSTORE SINTER SINTERCARD SINTERSTORE SMEMBERS SORT ' +
    'SORT_RO SPOP SRANDMEMBER SSCAN SUNION SUNIONSTORE XRANGE XREAD XREADGROUP XREVRANGE ZDIFF ZDIFFSTORE ZINTER ' +
    'ZINTERCARD ZINTERSTORE ZMPOP ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE ZREMRANGEBYLEX ZREMRANGEBYRANK ' +
    'ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZSCAN ZUNION ZUNIONSTORE'
  ).split(' '),
);

const collections: ReadonlySet<string> = new Set(['hash', 'set', 'sorted set', 'geo']);

/** Commands that stage a whole hash, set or sorted set by copying it, unless they address its elements. */
export const copyingCommands: ReadonlySet<string> = new Set([
  ...commandTable.flatMap((row) =>
    row.class === 'write' && collections.has(row.group) ? [row.name] : [],
  ),
  ...['COPY', 'PERSIST', 'PEXPIREAT', 'RENAME', 'RENAMENX', 'SORT'],
]);
