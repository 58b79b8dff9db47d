import { type CommandRow, floating, read, write } from './rows.ts';

const angles =
  'Redis computes distances with its C library, whose last digits may differ between servers. Without ASC or DESC, the order depends on the server.';
const stored = 'it shows how one server stores the stream; use it in POST /v1/reads';
const idle =
  'Idle times use the clock of the region that responds, and start at the delivery time, which is the coordinator’s.';
const delivered =
  'Delivery times use the coordinator’s clock; the last-seen time of a consumer uses the region’s clock.';

const streams: readonly CommandRow[] = [
  read('stream', 'XINFO', -2, {
    subcommands: { CONSUMERS: 4, GROUPS: 3, STREAM: -3 },
    keysAt: 'second',
    rewrite: 'subcommand',
    refusedInWrites: stored,
    note: delivered,
  }),
  read('stream', 'XLEN', 2),
  read('stream', 'XPENDING', -3, { rewrite: 'pending', note: idle }),
  read('stream', 'XRANGE', -4),
  read('stream', 'XREAD', -4, { keysAt: 'streams', rewrite: 'streams' }),
  read('stream', 'XREVRANGE', -4),
  write('stream', 'XACK', -4),
  write('stream', 'XADD', -5, { rewrite: 'append' }),
  write('stream', 'XAUTOCLAIM', -6, { rewrite: 'claim' }),
  write('stream', 'XCLAIM', -6, { rewrite: 'claim' }),
  write('stream', 'XDEL', -3),
  write('stream', 'XGROUP', -2, {
    subcommands: { CREATE: -5, CREATECONSUMER: 5, DELCONSUMER: 5, DESTROY: 4, SETID: -5 },
    keysAt: 'second',
    rewrite: 'subcommand',
  }),
  write('stream', 'XREADGROUP', -7, { keysAt: 'streams', rewrite: 'deliver' }),
  write('stream', 'XSETID', -3),
  write('stream', 'XTRIM', -4, { rewrite: 'trim' }),
];

const geo: readonly CommandRow[] = [
  read('geo', 'GEODIST', -4, { addresses: 'all', note: floating }),
  read('geo', 'GEOHASH', -2, { addresses: 'all' }),
  read('geo', 'GEOPOS', -2, { addresses: 'all', note: floating }),
  read('geo', 'GEORADIUS_RO', -6, { note: angles }),
  read('geo', 'GEORADIUSBYMEMBER_RO', -5, { note: angles }),
  read('geo', 'GEOSEARCH', -7, { note: angles }),
  write('geo', 'GEOADD', -5, { addresses: 'located' }),
  write('geo', 'GEORADIUS', -6, {
    keysAt: 'store',
    written: 'second',
    rewrite: 'geo-store',
    note: angles,
  }),
  write('geo', 'GEORADIUSBYMEMBER', -5, {
    keysAt: 'store',
    written: 'second',
    rewrite: 'geo-store',
    note: angles,
  }),
  write('geo', 'GEOSEARCHSTORE', -8, { written: 'first', rewrite: 'geo-store', note: angles }),
];

const hyperloglogs: readonly CommandRow[] = [
  read('hyperloglog', 'PFCOUNT', -2, { rewrite: 'count' }),
  write('hyperloglog', 'PFADD', -2),
  write('hyperloglog', 'PFMERGE', -2, { written: 'first' }),
];

const messages: readonly CommandRow[] = [
  read('publish and subscribe', 'PUBSUB', -2, {
    subcommands: { CHANNELS: -2, NUMPAT: 2, NUMSUB: -2, SHARDCHANNELS: -2, SHARDNUMSUB: -2 },
    rewrite: 'subcommand',
    refusedInWrites: 'each region has its own subscribers; use it in POST /v1/reads',
    note: 'It covers the subscribers of one region.',
  }),
  write('publish and subscribe', 'PUBLISH', 3, { rewrite: 'publish' }),
];

const server: readonly CommandRow[] = [
  read('server', 'MEMORY', -2, {
    subcommands: { USAGE: -3 },
    keysAt: 'second',
    rewrite: 'memory',
    refusedInWrites: 'memory usage differs between servers; use it in POST /v1/reads',
    note: 'It returns the memory usage in one region.',
  }),
];

/** Commands of streams, geographic indexes and HyperLogLogs, of messages, and of memory usage. */
export const structureRows: readonly CommandRow[] = [
  ...streams,
  ...geo,
  ...hyperloglogs,
  ...messages,
  ...server,
];
