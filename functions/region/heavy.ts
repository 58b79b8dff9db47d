/**
 * Commands that one region may be busy with for long, since their work grows with the values of their keys, or since a
 * write copies these values whole to stage them. Between such commands a region looks at its clock.
 */
export const heavyCommands: ReadonlySet<string> = new Set(
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
 * Of these the replies are small beside the work, or the same values are gone through again and again: a snapshot with
 * several of them runs in the script, which can stop between two. The replies of the others bound how many they are.
 */
export const endlessReads: ReadonlySet<string> = new Set(
  (
    'BITCOUNT BITPOS GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH LPOS PFCOUNT SDIFF SINTER SINTERCARD SORT_RO SUNION ' +
    'ZDIFF ZINTER ZINTERCARD ZLEXCOUNT ZUNION'
  ).split(' '),
);
