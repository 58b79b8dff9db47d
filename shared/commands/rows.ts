/**
 * The shape of a row of the command table, the functions that make rows, and the notes that the documentation prints
 * for each rewrite. The rows themselves are in table*.ts.
 */
import type { ReplySort } from '../contracts/frame.ts';

/** The group that the documentation of Redis lists a command in. */
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
 * How a command addresses elements, if its effect and its reply follow from these elements, their number and the key's
 * expiry alone. `none`: it reads no element. `first`, `second`, `all`: the arguments after the key name them. `pairs`:
 * every other argument does. `scored`, `located`: as in ZADD and GEOADD. `range`: by rank, score or index. `end`, `pop`,
 * `popOfSome`: the elements that it pops. `push`, `index`, `trim`, `move`: as list commands do. `expiry`: the command
 * changes the expiry alone.
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

/** How the compiler changes a command before it is sent to the regions; rewrites.ts has one function per rewrite. */
export type Rewrite = keyof typeof rewriteNotes;

/** The effect of each rewrite, for the documentation. */
export const rewriteNotes = {
  set: 'EX, PX and EXAT become PXAT. A lifetime starts at the transaction’s timestamp, so the expiry is the same in every region.',
  'set-for':
    'It runs as SET with PXAT. The lifetime starts at the transaction’s timestamp, so the expiry is the same in every region.',
  getex:
    'EX, PX and EXAT become PXAT. A lifetime starts at the transaction’s timestamp, so the expiry is the same in every region.',
  expire:
    'It runs as PEXPIREAT. A lifetime starts at the transaction’s timestamp, so the expiry is the same in every region.',
  flush:
    'It runs alone: it waits until every earlier transaction is decided, and later ones wait for it. Lockstep’s own keys stay. Each region deletes all other keys in one atomic step.',
  delete: 'Regions stage it without copying the old value.',
  pop: 'The coordinator draws one random seed for all regions, so that each removes the same members.',
  ttl: 'In a write it uses the transaction’s timestamp instead of the region’s clock.',
  'one-database': 'The option DB is refused: a region is one database.',
  'wide-bits':
    'Reads refuse fields of more than 53 bits, which Lua scripts would round. BITFIELD in a write reads them in halves.',
  reach: 'The offset is limited, because every region would allocate memory up to it.',
  draws: 'The number of elements in its reply is limited, also if elements repeat.',
  count:
    'A single key is sent twice, because PFCOUNT of one key writes the cached count into that key.',
  sort: 'Patterns that name further keys are refused. Without STORE it is a read and runs as SORT_RO. In a write, ALPHA and BY need STORE, because their order otherwise follows the server’s locale.',
  'geo-store':
    'GEORADIUS and GEORADIUSBYMEMBER without STORE or STOREDIST are reads. Distances that STOREDIST stores are part of the vote, so that regions that compute different digits are detected.',
  append:
    'The id `*` is taken from the coordinator’s clock, or is the next id if the stream is ahead of that clock. `~` becomes `=`; LIMIT is the maximum number of entries to trim.',
  trim: '`~` becomes `=`; LIMIT is the maximum number of entries to trim, independent of the stream’s internal nodes.',
  streams: 'BLOCK does not wait, as in a transaction of Redis.',
  deliver:
    'BLOCK does not wait, as in a transaction of Redis. The delivery time is the coordinator’s time minus the allowance for clock skew.',
  claim: 'Idle times use the coordinator’s clock, minus the allowance for clock skew.',
  pending:
    'In a write only the summary form is supported: idle times depend on the clocks of the regions.',
  subcommand: 'HELP is refused.',
  memory: 'Only USAGE is supported, and the number of elements that it samples is limited.',
  scan: 'Reads support NOVALUES, which is newer than Redis 7.0: Lockstep omits the values from the reply.',
  script:
    'A script applies all of its changes or none. See [scripts](../guides/scripts.md) for the rules.',
  publish:
    'Each region delivers the message when it applies the write. The reply is always 0, because the number of receivers is not known before that.',
} as const;

interface RowBase {
  /** In upper case. */
  readonly name: string;
  readonly group: CommandGroup;
}

interface SupportedRow extends RowBase {
  /** As in Redis, the name included: the exact number of words, or, if negative, the least number. */
  readonly arity: number;
  /** The position from which arguments come in pairs, or null. Position 0 is the name. */
  readonly pairsFrom: number | null;
  /** The position of the argument that counts the keys behind it, or null. */
  readonly keyCountAt: number | null;
  /**
   * The positions of its keys, if they depend on its arguments. `store`: the first argument, and the one after STORE.
   * `streams`: the first half of the arguments after STREAMS. `second`: after the subcommand. `first`, `all-but-last`,
   * `every-third`: of the arguments. `counted`: after the second argument, which is their number. Null: as the package
   * @ioredis/commands says.
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
  /** How a write sorts the reply so that all regions agree; a plain read keeps the order of its region. */
  readonly reply: ReplySort;
  readonly rewrite: Rewrite | null;
  /** How it addresses elements, or null if it takes whole values: then a region copies the value to stage the command. */
  readonly addresses: Addressing | null;
  /** A note for users in the table of commands, or null. */
  readonly note: string | null;
}

/** A command that may change keys. */
export interface WriteRow extends SupportedRow {
  readonly class: 'write';
  /** The keys that it may change; it only reads the others. */
  readonly written: 'all' | 'first' | 'second' | 'last';
}

/** A command that changes nothing: it may stand in a snapshot, and in a write unless `refusedInWrites` says why not. */
export interface ReadRow extends SupportedRow {
  readonly class: 'read';
  readonly refusedInWrites: string | null;
}

/** A command of Redis 7.0 that is refused by name. `reason` says why, and names an alternative if there is one. */
export interface RefusedRow extends RowBase {
  readonly class: 'refused';
  readonly reason: string;
}

/** A row of the table, tagged by the treatment of its command. */
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

/** Rows of commands that are refused for one reason. `names` is separated by spaces. */
export function refused(group: CommandGroup, names: string, reason: string): readonly RefusedRow[] {
  return names.split(' ').map((name) => ({ class: 'refused', name, group, reason }));
}

/** The row of a command that waits for another client; `instead` is its form that does not wait. */
export function blocking(
  group: CommandGroup,
  name: string,
  instead: string,
): readonly RefusedRow[] {
  return refused(
    group,
    name,
    `it blocks, and a write cannot wait for another client; use ${instead}`,
  );
}

/** Commands that compute with the processor's long doubles, or with its functions of angles. */
export const floating =
  'Redis uses the processor’s floating-point arithmetic. Regions on different processors may disagree in the last digits; the write is then aborted.';
