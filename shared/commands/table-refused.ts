import { type CommandRow, refused } from './rows.ts';

/** Commands that are about no data, or about a single server. */
export const refusedRows: readonly CommandRow[] = [
  ...refused('hyperloglog', 'PFDEBUG PFSELFTEST', 'it tests the server itself'),
  ...refused(
    'script',
    'FCALL FCALL_RO FUNCTION',
    'functions are kept by a server, under names of its own; send their text with EVAL',
  ),
  ...refused(
    'script',
    'SCRIPT',
    'it is about no data: LOAD, EXISTS and FLUSH are taken in the form of Upstash, outside of transactions',
  ),
  ...refused(
    'publish and subscribe',
    'PSUBSCRIBE SUBSCRIBE',
    'its answer has no end; open /subscribe/<channel> or /psubscribe/<pattern> as server-sent events',
  ),
  ...refused(
    'publish and subscribe',
    'PUNSUBSCRIBE SUNSUBSCRIBE UNSUBSCRIBE',
    'a subscription is a stream of its own; close that',
  ),
  ...refused(
    'publish and subscribe',
    'SPUBLISH SSUBSCRIBE',
    'its channels are those of a cluster, and nobody can subscribe to them here; use PUBLISH',
  ),
  ...refused(
    'transaction',
    'DISCARD EXEC MULTI UNWATCH WATCH',
    'a write is a transaction already; send its commands as operations and its conditions as checks',
  ),
  ...refused(
    'connection',
    'ASKING AUTH CLIENT ECHO HELLO PING QUIT READONLY READWRITE RESET SELECT',
    'it is about a connection, and there is none here to a single region',
  ),
  ...refused('server', 'MONITOR', 'its answer has no end; open /monitor as server-sent events'),
  ...refused(
    'server',
    'ACL BGREWRITEAOF BGSAVE CLUSTER COMMAND CONFIG DEBUG FAILOVER INFO LASTSAVE LATENCY LOLWUT MODULE PSYNC REPLCONF REPLICAOF ROLE SAVE SHUTDOWN SLAVEOF SLOWLOG SYNC TIME',
    'it administers a single server; connect to that region itself',
  ),
];
