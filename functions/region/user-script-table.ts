/** Generates the Lua form of the command table that users' scripts are checked against. */
import { getKeyIndexes } from '@ioredis/commands';
import type { CommandRow, ReadRow, WriteRow } from '../../shared/commands/rows.ts';
import { commandTable } from '../../shared/commands/table.ts';
import { limits } from '../../shared/limits.ts';

/** Refused commands that scripts of Redis 7.0 cannot call either; run.lua replies the error of Redis. */
const outside: ReadonlySet<string> = new Set(
  (
    'ACL AUTH BGREWRITEAOF BGSAVE BLMOVE BLPOP BRPOP BRPOPLPUSH BZPOPMAX BZPOPMIN CLIENT CONFIG DEBUG DISCARD EVAL ' +
    'EVALSHA EVALSHA_RO EVAL_RO EXEC FAILOVER FCALL FCALL_RO FUNCTION HELLO LATENCY MODULE MONITOR MULTI PSUBSCRIBE ' +
    'PSYNC PUNSUBSCRIBE QUIT REPLCONF REPLICAOF RESET ROLE SAVE SCRIPT SHUTDOWN SLAVEOF SSUBSCRIBE SUBSCRIBE ' +
    'SUNSUBSCRIBE SYNC UNSUBSCRIBE UNWATCH WAIT WATCH'
  ).split(' '),
);

/** Commands without keys that scripts may call, with their arity: the replies are equal in every region. */
const aboutNothing: Readonly<Record<string, number>> = { TIME: 1, PING: -1, ECHO: 2 };

const orders = { members: 1, pairs: 2, exact: 0, 'exact-field': 0 } as const;

/** The positions of keys that the package does not list, in the form of `keysOf`. */
const placesOf: Readonly<Record<NonNullable<WriteRow['keysAt']>, string>> = {
  store: 'store',
  streams: 'streams',
  second: '2,2,1',
  first: '1,1,1',
  'all-but-last': '1,-2,1',
  'every-third': '1,-1,3',
  // Commands that run scripts, which no script may call.
  counted: 'none',
};

/**
 * Returns Lua that defines SCRIPT_TABLE, generated from the compiler's command table in the form that run.lua describes,
 * and SCRIPT_BOUNDS, the limits of scripts.
 */
export function scriptTable(): string {
  const rows = commandTable.flatMap(linesOf).join('\n');
  const bounds = [
    `calls = ${limits.callsPerScript}`,
    `steps = ${limits.stepsPerScript}`,
    `memory = ${limits.memoryPerScript}`,
    `items = ${limits.scriptReplyItems}`,
    `patternBytes = ${limits.scriptPatternBytes}`,
    `errorBytes = ${limits.scriptErrorBytes}`,
    `ms = ${limits.scriptMs}`,
    `foundBytes = ${limits.frameBytes}`,
    `keys = ${limits.keysPerWrite}`,
    `keyBytes = ${limits.keyBytes}`,
    `channelBytes = ${limits.channelBytes}`,
    `claimed = ${limits.claimedEntries}`,
    `skew = ${limits.clockSkewMs}`,
    `farthestExpiry = ${limits.expiryMsMaximum}`,
    `depth = ${limits.scriptReplyDepth}`,
    `draws = ${limits.drawsPerCall}`,
    `samples = ${limits.memorySamples}`,
    `reached = ${limits.reachedBytes}`,
    `taken = ${limits.takenBytes}`,
  ];
  return [
    `local SCRIPT_TABLE = [==[\n\n${rows}\n]==]`,
    `local SCRIPT_BOUNDS = { ${bounds.join(', ')} }`,
  ].join('\n');
}

function linesOf(row: CommandRow): readonly string[] {
  const arity = aboutNothing[row.name];
  if (arity !== undefined) return [`${row.name} read ${arity} none - 0 - -`];
  if (outside.has(row.name)) return [`${row.name} outside 0 none - 0 - -`];
  if (row.class !== 'read' && row.class !== 'write') {
    const reason = 'reason' in row ? row.reason : 'send it as an operation of its own';
    return [`${row.name} refused 0 none - 0 - ${ascii(reason)}`];
  }
  if (row.subcommands === null) return [lineOf(row, row.name, row.arity)];
  const members = Object.entries(row.subcommands);
  return [
    `${row.name} container 0 none - 0 - -`,
    ...members.map(([name, count]) => lineOf(row, `${row.name}|${name}`, count)),
  ];
}

function lineOf(row: WriteRow | ReadRow, name: string, arity: number): string {
  const order = row.reply === null ? 0 : orders[row.reply];
  const written = row.class === 'write' ? row.written : '-';
  const reason = row.class === 'read' ? row.refusedInWrites : null;
  const head = [name, row.class, arity, keysOf(row), written, order, row.rewrite ?? '-'];
  return [...head, ascii(reason ?? '-')].join(' ');
}

/** The positions of keys: `first,last,step`, counted from the name or, if negative, from the end; or a named rule. */
function keysOf(row: WriteRow | ReadRow): string {
  if (row.rewrite === 'publish') return 'channel';
  if (row.keysAt !== null) return placesOf[row.keysAt];
  if (row.keyCountAt !== null) return `count:${row.keyCountAt}`;
  const [short, long] = [12, 18].map((count) => {
    const found = getKeyIndexes(
      row.name.toLowerCase(),
      Array.from({ length: count }, () => 'x'),
    );
    return { count, found: found.map((index) => index + 1) };
  });
  const [first, second] = long?.found ?? [];
  const [lastShort, lastLong] = [short?.found.at(-1), long?.found.at(-1)];
  if (first === undefined || lastShort === undefined || lastLong === undefined) return 'none';
  const isFixed = lastShort === lastLong;
  // From the end, -1 is the last argument.
  const last = isFixed ? lastLong : lastLong - (long?.count ?? 0) - 1;
  return `${first},${last},${second === undefined ? 1 : second - first}`;
}

/** Reduces a text to ASCII, which every server accepts in a script. */
function ascii(text: string): string {
  return text.replaceAll('’', "'").replaceAll(/[^ -~]/g, '?');
}
