/** Random sequences of commands with short expiries. */
import fc from 'fast-check';

/**
 * Commands that set, keep, move and return short expiries: $k a key, $v a number, $d a lifetime in ms, $e one in s,
 * $t a time near the transaction's, in ms; $u the same in s.
 */
const templates =
  `SET $k $v|SET $k $v PX $d|SET $k $v PX $d|SET $k $v EX $e|SET $k $v NX PX $d|SET $k $v XX PX $d
SET $k $v GET PX $d|SET $k $v PXAT $t|SET $k $v EXAT $u|SET $k $v KEEPTTL|SETEX $k $e $v|PSETEX $k $d $v|SETNX $k $v
GETEX $k|GETEX $k PX $d|GETEX $k EX $e|GETEX $k PXAT $t|GETEX $k PERSIST|GETSET $k $v|GETDEL $k|MSET $k $v $k $v
EXPIRE $k $e|EXPIRE $k -1|PEXPIRE $k $d|PEXPIRE $k $d NX|PEXPIRE $k $d XX|PEXPIRE $k $d GT|PEXPIRE $k $d LT|PEXPIRE $k 0
PEXPIREAT $k $t|EXPIREAT $k $u|PEXPIREAT $k $t GT|PERSIST $k|PERSIST $k|RENAME $k $k|RENAMENX $k $k|COPY $k $k|COPY $k $k REPLACE
INCR $k|INCR $k|APPEND $k $v|DEL $k|EXISTS $k|TYPE $k|GET $k|GET $k|TTL $k|PTTL $k|PTTL $k|EXPIRETIME $k|PEXPIRETIME $k
SADD $k $v|SREM $k $v|SCARD $k|SUNIONSTORE $k $k $k|SORT $k STORE $k|RPUSH $k $v $v|LMOVE $k $k LEFT LEFT|BITFIELD $k SET u8 0 50
GETRANGE $k 0 -1|SETRANGE $k 1 $v|HSET $k $v $v|OBJECT ENCODING $k`
    .split(/[|\n]/)
    .filter((template) => !template.startsWith('OBJECT'));

const words: Readonly<Record<string, fc.Arbitrary<string>>> = {
  $k: fc.constantFrom('a', 'a', 'b', 'c'),
  $v: fc.constantFrom('1', '7', '42'),
  $d: fc.constantFrom('1', '2', '60', '799', '800', '1000', '2000'),
  $e: fc.constantFrom('1', '2'),
  // The number is an offset from the transaction's time, in ms or in s.
  $t: fc.constantFrom('@-5', '@0', '@1', '@800', '@2000'),
  $u: fc.constantFrom('@@-1', '@@1', '@@2'),
};

function commandOf(given: readonly string[]): fc.Arbitrary<readonly string[]> {
  return fc
    .constantFrom(...given)
    .chain((template) =>
      fc.tuple(...template.split(' ').map((token) => words[token] ?? fc.constant(token))),
    );
}

const command = commandOf(templates);

/** Commands whose replies do not depend on when they run, if their keys are new to the transaction. */
export const timelessCommands: fc.Arbitrary<readonly (readonly string[])[]> = fc.array(
  commandOf(templates.filter((template) => !/\$[tu]|EXPIRETIME/.test(template))),
  { minLength: 1, maxLength: 8 },
);

/** The form of a part's commands: a single command, several as after MULTI, or several called by one script. */
export type Form = 'alone' | 'multi' | 'script';

/** One client's write. */
export interface ExpiringPart {
  readonly form: Form;
  readonly commands: readonly (readonly string[])[];
}

/** One transaction: parts of several clients. */
export interface ExpiringStep {
  /** The time since the previous transaction, ms. */
  readonly afterMs: number;
  /** The time for which its parts have waited, ms. */
  readonly waitedMs: number;
  readonly parts: readonly ExpiringPart[];
  readonly isCommitted: boolean;
}

const aPart: fc.Arbitrary<ExpiringPart> = fc.oneof(
  {
    weight: 3,
    arbitrary: command.map((one): ExpiringPart => ({ form: 'alone', commands: [one] })),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      form: fc.constantFrom<Form>('multi', 'script'),
      commands: fc.array(command, { minLength: 1, maxLength: 5 }),
    }),
  },
);

/** Sequences of transactions, some of them aborted. */
export const expiringSequences: fc.Arbitrary<readonly ExpiringStep[]> = fc.array(
  fc.record({
    afterMs: fc.constantFrom(0, 1, 59, 60, 800, 1_500),
    waitedMs: fc.constantFrom(0, 1, 900, 5_000),
    parts: fc.array(aPart, { minLength: 1, maxLength: 5 }),
    isCommitted: fc.constantFrom(true, true, true, true, true, false),
  }),
  { minLength: 1, maxLength: 6 },
);

/** The words with absolute times, for a transaction of this `now`, ms. */
export function spelledAt(given: readonly string[], now: number): readonly string[] {
  return given.map((word) => {
    if (word.startsWith('@@')) return String(Math.floor(now / 1_000) + Number(word.slice(2)));
    return word.startsWith('@') ? String(now + Number(word.slice(1))) : word;
  });
}
