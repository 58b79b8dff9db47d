import type { ReplyOrder } from '../contracts/frame.ts';

/** What Redis's documentation files a command under. */
export type CommandGroup =
  | 'string'
  | 'bitmap'
  | 'key'
  | 'hash'
  | 'set'
  | 'sorted set'
  | 'list'
  | 'stream'
  | 'geo'
  | 'hyperloglog'
  | 'json'
  | 'script'
  | 'publish and subscribe'
  | 'transaction'
  | 'connection'
  | 'server';

/**
 * How a command addresses elements, where its effect and its reply follow from these, from their number and from the
 * key's expiry alone. `none`: it looks at no element. `first`, `second`, `all`: by the words behind its key. `pairs`: by
 * every other one. `scored`, `located`: as in ZADD and GEOADD. `range`: by rank, score or index. `end`, `pop`, `popOfSome`:
 * what it pops. `push`, `index`, `trim`, `move`: as lists have it. `expiry`: it changes that alone.
 */
export type Addressing =
  | 'none'
  | 'first'
  | 'second'
  | 'all'
  | 'pairs'
  | 'scored'
  | 'located'
  | 'range'
  | 'end'
  | 'pop'
  | 'popOfSome'
  | 'push'
  | 'index'
  | 'trim'
  | 'move'
  | 'expiry';

/** How a command is changed before it goes to the regions; rewrites.ts has one function for each. */
export type Rewrite = keyof typeof rewriteNotes;

/** What each rewriting does, for the documentation. */
export const rewriteNotes = {
  set: 'EX, PX and EXAT become PXAT, with the expiry counted from the transaction’s one moment.',
  'set-for': 'It runs as SET with PXAT, with the expiry counted from the transaction’s one moment.',
  getex: 'EX, PX and EXAT become PXAT, with the expiry counted from the transaction’s one moment.',
  expire: 'It runs as PEXPIREAT, with the expiry counted from the transaction’s one moment.',
  flush:
    'It waits until nothing else is undecided, and nothing begins before it is over. Lockstep’s own keys stay. Each region goes through all of its keys, in one step.',
  delete: 'It is staged without copying the old value.',
  pop: 'One random draw is made for all regions, so that each removes the same members.',
  ttl: 'In a write it is answered by the transaction’s one moment, not by the region’s clock.',
  'one-database': 'The option DB is refused: a region is one database.',
  'wide-bits':
    'Fields of more than 53 bits are refused in reads: scripts would answer them rounded. BITFIELD in a write reads them in halves.',
  reach: 'The highest byte is bounded, since every region would allocate all bytes before it.',
  draws: 'The number of elements in the reply is bounded, repeated ones included.',
  count: 'A single key is passed twice, since PFCOUNT of one key writes the cached count into it.',
  sort: 'Patterns that name further keys are refused. Without STORE it is a read, and goes as SORT_RO; in a write, ALPHA and BY need STORE: they follow the server’s locale.',
  'geo-store':
    'Without a key to store to, a command that has a form for that is a read. The distances that STOREDIST stores are part of the vote, so that regions which compute other digits are found.',
  append:
    'The id `*` becomes one by the coordinator’s clock, or the next one if the stream is ahead. `~` becomes `=`; LIMIT bounds the number of trimmed entries.',
  trim: '`~` becomes `=`; LIMIT bounds the number of trimmed entries, whole nodes or not.',
  streams: 'BLOCK does not wait, as in a transaction of Redis.',
  deliver:
    'BLOCK does not wait, as in a transaction of Redis. The time of delivery is the coordinator’s, less the allowance for clocks.',
  claim: 'Idle times are counted by the coordinator’s clock, less the allowance for clocks.',
  pending: 'In a write only its summary is taken: idle times differ by the clocks of the regions.',
  subcommand: 'HELP is refused.',
  memory: 'USAGE alone is taken, and how many elements it looks at is bounded.',
  scan: 'NOVALUES, which came after Redis 7.0, is supported in reads: the reply omits the values.',
  script: 'It changes all or nothing. See [scripts](../guides/scripts.md) for the rules.',
  publish:
    'It is delivered in each region as the write is applied there. The reply is 0: who receives it is not known before that.',
} as const;

interface RowBase {
  /** In upper case. */
  readonly name: string;
  readonly group: CommandGroup;
}

interface SupportedRow extends RowBase {
  /** As Redis counts, the name included: exactly so many, or where negative at least so many. */
  readonly arity: number;
  /** The position from which arguments come in pairs, or null. Position 0 is the name. */
  readonly pairsFrom: number | null;
  /** The position of the argument that counts the keys behind it, or null. */
  readonly keyCountAt: number | null;
  /**
   * Where its keys stand where that depends on its words. `store`: the first argument, and what follows STORE.
   * `streams`: the first half of what follows STREAMS. `second`: behind the subcommand. `first`, `all-but-last`,
   * `every-third`: of the arguments. `counted`: behind the second argument, which is their number. Null: as the package
   * says.
   */
  readonly keysAt:
    | 'store'
    | 'streams'
    | 'second'
    | 'first'
    | 'all-but-last'
    | 'every-third'
    | 'counted'
    | null;
  /** Of a container: the arity of each subcommand, in upper case; or null. */
  readonly subcommands: Readonly<Record<string, number>> | null;
  /** How replies are put into one order inside a write; a plain read keeps the order of its region. */
  readonly reply: ReplyOrder;
  readonly rewrite: Rewrite | null;
  /** How it addresses elements, or null where it takes whole values: then a write copies them to stage it. */
  readonly addresses: Addressing | null;
  /** What a user should know, or null. */
  readonly note: string | null;
}

/** A command that may change keys. */
export interface WriteRow extends SupportedRow {
  readonly class: 'write';
  /** Which of its keys it may change; it only reads the others. */
  readonly written: 'all' | 'first' | 'second' | 'last';
}

/** A command that changes nothing: it may stand in a snapshot, and in a write unless `refusedInWrites` says why not. */
export interface ReadRow extends SupportedRow {
  readonly class: 'read';
  readonly refusedInWrites: string | null;
}

/** A command of Redis 7.0 that is refused by name. `reason` says why and what to do. */
export interface RefusedRow extends RowBase {
  readonly class: 'refused';
  readonly reason: string;
}

/** A row of the table, by what becomes of its command. */
export type CommandRow = WriteRow | ReadRow | RefusedRow;

type Extras<Row extends SupportedRow> = Partial<Omit<Row, 'class' | 'name' | 'group' | 'arity'>>;

const plain = {
  pairsFrom: null,
  keyCountAt: null,
  keysAt: null,
  subcommands: null,
  reply: null,
  rewrite: null,
  addresses: null,
  note: null,
};

/** A row of a command that may change keys. */
export function write(
  group: CommandGroup,
  name: string,
  arity: number,
  extras: Extras<WriteRow> = {},
): WriteRow {
  return { ...plain, class: 'write', name, group, arity, written: 'all', ...extras };
}

/** A row of a command that only reads. */
export function read(
  group: CommandGroup,
  name: string,
  arity: number,
  extras: Extras<ReadRow> = {},
): ReadRow {
  return { ...plain, class: 'read', name, group, arity, refusedInWrites: null, ...extras };
}

/** Rows of commands that are refused for one reason. `names` is a list with spaces between. */
export function refused(group: CommandGroup, names: string, reason: string): readonly RefusedRow[] {
  return names.split(' ').map((name) => ({ class: 'refused', name, group, reason }));
}

/** Rows of commands that wait for another client. */
export function blocking(
  group: CommandGroup,
  name: string,
  instead: string,
): readonly RefusedRow[] {
  return refused(group, name, `it blocks, and a write cannot wait for another; use ${instead}`);
}

/** Commands that compute with the processor's long doubles, or with its functions of angles. */
export const floating =
  'Redis computes with the processor’s floating point. Regions on different processors may disagree in the last digits; the write is then aborted.';
