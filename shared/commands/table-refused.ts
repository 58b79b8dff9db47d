import { type CommandRow, refused } from './rows.ts';

/** Commands that concern no data, or a single server. */
export const refusedRows: readonly CommandRow[] = [
  ...refused('hyperloglog', 'PFDEBUG PFSELFTEST', 'it tests the server itself'),
  ...refused(
    'script',
    'FCALL FCALL_RO FUNCTION',
    'functions are stored per server; send the text of the function as a script with EVAL',
  ),
  ...refused(
    'script',
    'SCRIPT',
    'it concerns no data: use LOAD, EXISTS and FLUSH in the Upstash API, outside of transactions',
  ),
  ...refused(
    'publish and subscribe',
    'PSUBSCRIBE SUBSCRIBE',
    'its response never ends; open /subscribe/<channel> or /psubscribe/<pattern> as server-sent events',
  ),
  ...refused(
    'publish and subscribe',
    'PUNSUBSCRIBE SUNSUBSCRIBE UNSUBSCRIBE',
    'each subscription is its own stream; close that stream',
  ),
  ...refused(
    'publish and subscribe',
    'SPUBLISH SSUBSCRIBE',
    'sharded channels belong to Redis Cluster, and nobody can subscribe to them here; use PUBLISH',
  ),
  ...refused(
    'transaction',
    'DISCARD EXEC MULTI UNWATCH WATCH',
    'a write is a transaction already; send its commands as operations and its conditions as checks',
  ),
  ...refused(
    'connection',
    'ASKING AUTH CLIENT ECHO HELLO PING QUIT READONLY READWRITE RESET SELECT',
    'it concerns a connection, and clients of Lockstep have no connection to a region',
  ),
  ...refused('server', 'MONITOR', 'its response never ends; open /monitor as server-sent events'),
  ...refused(
    'server',
    'ACL BGREWRITEAOF BGSAVE CLUSTER COMMAND CONFIG DEBUG FAILOVER INFO LASTSAVE LATENCY LOLWUT MODULE PSYNC REPLCONF REPLICAOF ROLE SAVE SHUTDOWN SLAVEOF SLOWLOG SYNC TIME',
    'it administers a single server; connect to that region directly',
  ),
];
