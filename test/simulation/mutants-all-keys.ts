import type { Mutant } from './mutants.ts';
import { mutant } from './mutants-members.ts';

/** R41 and R42: transactions that are about all keys, and scripts that touch more than they declare. */

const admission = 'shared/protocol/transactions/admission.ts';
const transactions = 'shared/protocol/transactions/transactions.ts';
const transaction = 'shared/protocol/transactions/transaction.ts';
const members = 'shared/protocol/membership/members.ts';
const stagedVote = 'test/region/staged-vote.ts';
const shard = 'test/region/shard-model.ts';

const unlocked = [
  shard,
  'this.#locks.keys() : [everyKey, ...keys]) {',
  'this.#locks.keys() : keys) {',
] as const;
const beside = [shard, 'areAll(keys) ? this.#locks.keys() : [', '['] as const;

export const allKeysMutants: readonly Mutant[] = [
  // The regions too refuse such a transaction beside others.
  mutant(
    'R41',
    'begins-beside-an-all-keys-transaction',
    'flushes',
    [1, 60],
    [transactions, ' || this.#holders.has(everyKey);', ';'],
    [admission, 'return !going.has(everyKey) && !blocked.has(everyKey);', 'return true;'],
    [admission, 'this.#waitedKeys.has(everyKey) || ', ''],
    unlocked,
  ),
  mutant(
    'R41',
    'begins-an-all-keys-transaction-beside-others',
    'flushes',
    [1, 60],
    [transactions, 'if (key === everyKey) return this.#undecided.size > 0;', ''],
    [admission, 'return going.size === 0 && blocked.size === 0;', 'return true;'],
    [admission, 'if (areAll(keys)) return this.#frames.length > 0;', ''],
    beside,
  ),
  mutant(
    'R41',
    'reads-past-an-all-keys-lock',
    'flushes',
    [259, 360],
    [shard, 'return [everyKey, ...keys].flatMap', 'return keys.flatMap'],
  ),
  mutant(
    'R41',
    'records-a-flush-as-a-missed-key',
    'flushes',
    [1, 60],
    [members, 'if (!isFlush(keys)) return', 'if (keys.length > 0) return'],
  ),
  mutant(
    'R41',
    'leaves-with-a-flush-as-a-missed-key',
    'flushes',
    [930, 940],
    [members, 'const isFlushed = isFlush(missed.map(([key]) => key));', 'const isFlushed = false;'],
  ),
  mutant(
    'R42',
    'decides-without-the-keys-that-a-script-touches',
    'flushes',
    [22, 60],
    [transaction, 'keys: [...frame.keys, ...found], bytes', 'keys: frame.keys, bytes'],
  ),
  mutant(
    'R42',
    'stages-unlisted-keys',
    'flushes',
    [24, 60],
    [stagedVote, 'if (unlisted.length > 0) return', 'if (unlisted.length < 0) return'],
  ),
];
