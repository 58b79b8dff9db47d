/**
 * Commands that may take a region long, because their work grows with the values of their keys or because a write copies
 * these values to stage them. A region checks its clock between such commands.
 */
export const slowCommands: ReadonlySet<string> = new Set(
  (
    'BITCOUNT BITOP BITPOS COPY EVAL_RO GEORADIUS GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH ' +
    'GEOSEARCHSTORE HGETALL HKEYS HVALS KEYS LCS LINSERT LPOS LRANGE LREM MEMORY PFCOUNT PFMERGE RENAME RENAMENX SCAN ' +
    'SDIFF SDIFFSTORE SINTER SINTERCARD SINTERSTORE SMEMBERS SORT SORT_RO SPOP SUNION SUNIONSTORE XACK XADD ' +
    'XAUTOCLAIM XCLAIM XDEL XGROUP XINFO XPENDING XRANGE XREAD XREADGROUP XREVRANGE XTRIM ZDIFF ZDIFFSTORE ZINTER ' +
    'ZINTERCARD ZINTERSTORE ZLEXCOUNT ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE ZREMRANGEBYLEX ZREVRANGE ' +
    'ZREVRANGEBYLEX ZREVRANGEBYSCORE ZUNION ZUNIONSTORE'
  ).split(' '),
);

/**
 * Slow reads whose replies do not limit their number: the reply is small compared to the work, or the same values are
 * scanned repeatedly. A snapshot with several of them runs in the script, which can stop between two.
 */
export const endlessReads: ReadonlySet<string> = new Set(
  (
    'BITCOUNT BITPOS GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH LPOS PFCOUNT SDIFF SINTER SINTERCARD SORT_RO SUNION ' +
    'ZDIFF ZINTER ZINTERCARD ZLEXCOUNT ZUNION'
  ).split(' '),
);
