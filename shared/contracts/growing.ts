import type { Operation } from './frame.ts';

/**
 * The write commands that a Redis without memory refuses (its flag `denyoom`), as far as writes may hold them. Every
 * other command goes through in a region that is full, since it may free memory. `test/region/oracle/growing.test.ts`
 * compares the list with a server.
 */
export const growingCommands: ReadonlySet<string> = new Set(
  (
    'APPEND BITFIELD BITOP COPY DECR DECRBY GEOADD GEORADIUS GEORADIUSBYMEMBER GEOSEARCHSTORE GETSET HINCRBY ' +
    'HINCRBYFLOAT HMSET HSET HSETNX INCR INCRBY INCRBYFLOAT JSON.ARRAPPEND JSON.ARRINSERT JSON.MERGE JSON.MSET ' +
    'JSON.SET JSON.STRAPPEND JSON.TOGGLE LINSERT LMOVE LPUSH LPUSHX LSET MSET MSETNX PFADD PFMERGE PSETEX RPOPLPUSH ' +
    'RPUSH RPUSHX SADD SDIFFSTORE SET SETBIT SETEX SETNX SETRANGE SINTERSTORE SORT SUNIONSTORE XADD XSETID ZADD ' +
    'ZDIFFSTORE ZINCRBY ZINTERSTORE ZRANGESTORE ZUNIONSTORE'
  ).split(' '),
);

/** The subcommands of XGROUP that take memory. */
export const growingOfGroups: ReadonlySet<string> = new Set(['CREATE', 'CREATECONSUMER']);

/** True if a server without memory refuses the operation. Of a script this is unknown before it has run. */
export function isGrowing({ kind, args }: Operation): boolean {
  switch (kind) {
    case 'set':
    case 'append':
    case 'bits':
      return true;
    case 'trim':
    case 'distances':
    case 'write':
      if (args[0] === 'XGROUP') return growingOfGroups.has(args[1] ?? '');
      return growingCommands.has(args[0] ?? '');
    default:
      return false;
  }
}
