import type { Mutant } from './mutants.ts';
import type { Patch } from './mutation.ts';

/** R56 to R66: the rules that keep writes over several shards whole. */

const loans = 'shared/protocol/handlers/loans.ts';
const conclusions = 'shared/protocol/handlers/conclusions.ts';
const joining = 'shared/protocol/handlers/joining.ts';
const lentRounds = 'shared/protocol/handlers/lent-rounds.ts';
const answers = 'shared/protocol/handlers/round-answers.ts';
const manager = 'shared/protocol/handlers/transaction-manager.ts';
const transactions = 'shared/protocol/transactions/transactions.ts';
const core = 'shared/protocol/coordinator.ts';
const reads = 'shared/protocol/handlers/coordinator-reads.ts';
const evictions = 'shared/protocol/membership/evictions.ts';
const rejoin = 'shared/protocol/membership/rejoin.ts';

type Seeds = Mutant['seeds'];

function inRuns(
  rule: Mutant['rule'],
  name: string,
  patches: readonly Patch[],
  seeds: Seeds,
): Mutant {
  return { rule, name, patches, runner: 'shards', seeds };
}

function inScene(
  rule: Mutant['rule'],
  name: string,
  patches: readonly Patch[],
  scene: number,
): Mutant {
  return { rule, name, patches, runner: 'scenes', seeds: [scene, scene] };
}

export const shardMutants: readonly Mutant[] = [
  // Whoever applies the commit of one shard applies its share alone: readers of a region see half of the write.
  inRuns(
    'R56',
    'commits-name-only-their-own-share',
    [
      {
        file: manager,
        find: '{ ...alone, otherShares }',
        replace: '{ ...alone, otherShares: [] }',
      },
      {
        file: loans,
        find: "outcome: 'commit', keys, otherShares } as const",
        replace: "outcome: 'commit', keys, otherShares: [] } as const",
      },
    ],
    [1, 20],
  ),
  inScene(
    'R57',
    'home-takes-its-keys-last-in-an-ordered-try',
    [
      {
        file: joining,
        find: '      if (own < guest.shard && !this.#takeOwn(transaction, joint)) return false;\n',
        replace: '      void own;\n',
      },
    ],
    6,
  ),
  inScene(
    'R57',
    'a-guest-lends-past-those-who-wait',
    [{ file: loans, find: 'isLocked || pendingWrites.queue.waitsFor(keys)', replace: 'isLocked' }],
    7,
  ),
  inRuns(
    'R58',
    'a-loan-is-not-stored',
    [{ file: loans, find: "    ready.persist({ kind: 'lend', loan: stored });\n", replace: '' }],
    [1, 20],
  ),
  inRuns(
    'R58',
    'loans-are-forgotten-at-a-restart',
    [
      {
        file: loans,
        find: 'of parts.stored.loans ?? []) {',
        replace: 'of (parts.stored.loans ?? []).slice(0, 0)) {',
      },
    ],
    [1, 20],
  ),
  inRuns(
    'R58',
    'a-guest-aborts-its-loans-of-former-lives',
    [
      {
        file: answers,
        find: '      if (this.#parts.transactions.findLoan(transaction) !== null) continue;\n',
        replace: '',
      },
    ],
    [1, 40],
  ),
  inRuns(
    'R58',
    'watermarks-pass-open-loans',
    [
      {
        file: transactions,
        find: '    const [loan] = this.#loans.values();\n    if (oldest',
        replace: '    const [loan] = [...this.#loans.values()].slice(0, 0);\n    if (oldest',
      },
    ],
    [1, 40],
  ),
  inRuns(
    'R58',
    'voters-are-not-compared',
    [
      {
        file: loans,
        find: '    if (!isSame) return',
        replace: '    if (!isSame && keys.length === 0) return',
      },
      // Home would see that rounds are missing.
      { file: joining, find: 'if (!isWhole) this', replace: 'if (!isWhole && joint.pauses) this' },
    ],
    [1, 200],
  ),
  inRuns(
    'R58',
    'keys-are-lent-while-a-copy-pauses-writes',
    [{ file: loans, find: 'if (members.isPaused) return', replace: 'if (shards.isOnly) return' }],
    [94, 250],
  ),
  inScene(
    'R58',
    'a-guest-at-rest-asks-for-no-locks',
    [{ file: loans, find: '      for (const link of own) link.requireLocks();\n', replace: '' }],
    17,
  ),
  inRuns(
    'R59',
    'a-joint-write-has-the-clock-of-home-alone',
    [
      {
        file: joining,
        find: 'Math.max(ready.now, ...clocks)',
        replace: 'Math.max(ready.now, ...clocks.slice(0, 0))',
      },
    ],
    [1, 20],
  ),
  inScene(
    'R59',
    'a-moment-far-ahead-is-sent',
    [
      {
        file: joining,
        find: 'if (now > ready.now + limits.clockSkewMs) {',
        replace: 'if (now > ready.now + 99 * limits.clockSkewMs) {',
      },
    ],
    11,
  ),
  inScene(
    'R59',
    'a-guest-does-not-keep-the-clock-of-a-joint-write',
    [{ file: loans, find: '    ready.raiseClock(now);\n', replace: '' }],
    0,
  ),
  inScene(
    'R60',
    'home-sends-no-clock-with-an-abort',
    [
      {
        file: conclusions,
        find: "return { kind: 'concluded', outcome: { kind: 'abort' }, now };\n  }\n\n  #takeUp",
        replace:
          "return { kind: 'concluded', outcome: { kind: 'abort' }, now: 0 };\n  }\n\n  #takeUp",
      },
    ],
    1,
  ),
  inRuns(
    'R60',
    'conclusions-of-other-loans-are-taken',
    [
      {
        file: loans,
        find: 'compareOrder(transaction, loan.order) !== 0) return;',
        replace: 'compareOrder(transaction, loan.order) < -9) return;',
      },
      {
        file: conclusions,
        find: 'share !== undefined && compareOrder(share.transaction, transaction) === 0;',
        replace: 'share !== undefined;',
      },
    ],
    [1, 60],
  ),
  inRuns(
    'R60',
    'a-guest-does-not-note-missed-keys',
    [
      {
        file: loans,
        find: 'const missedBy = members.missedBy(keys, sequence);',
        replace: 'const missedBy: readonly string[] = [];',
      },
    ],
    [106, 150],
  ),
  inRuns(
    'R60',
    'a-guest-owes-no-aborts',
    [
      {
        file: loans,
        find: "      links.queueDecisionForAll({ transaction, outcome: 'abort', keys }, 0, false);\n",
        replace: '',
      },
    ],
    [1, 20],
  ),
  inRuns(
    'R60',
    'a-missing-reply-acknowledges',
    [
      {
        file: lentRounds,
        find: '    if (answer === undefined || !isCurrent',
        replace: `    for (const { transaction } of answer === undefined ? flight.decisions : []) {
      link.acknowledged(transaction);
      parts.pendingConfirmations.acknowledge(transaction, link.region);
    }
    if (answer === undefined || !isCurrent`,
      },
    ],
    [1, 80],
  ),
  inScene(
    'R60',
    'a-conclusion-is-acknowledged-without-proof',
    [
      {
        file: 'shared/protocol/io/ready-builder.ts',
        find: "  if (answer.kind !== 'join') return false;",
        replace: "  if (answer.kind !== 'join') return answer.kind === 'conclude';",
      },
    ],
    15,
  ),
  inRuns(
    'R61',
    'a-guest-never-asks',
    [
      {
        file: loans,
        find: 'if (loan.askAt <= ready.now) this.#ask(loan);\n      else ready',
        replace: 'if (loan.askAt > ready.now) ready',
      },
    ],
    [1, 20],
  ),
  inScene(
    'R61',
    'the-outcome-of-a-loan-is-guessed',
    [{ file: core, find: '    if (this.#questions.take(event)) return;\n', replace: '' }],
    4,
  ),
  inScene(
    'R61',
    'home-gives-up-undecided-writes-in-words-alone',
    [
      {
        file: conclusions,
        find: "if (mayCount && !isEnded) return { kind: 'pending' };",
        replace: "if (mayCount) return { kind: 'concluded', outcome: { kind: 'abort' }, now };",
      },
    ],
    8,
  ),
  inRuns(
    'R61',
    'home-says-pending-for-ever',
    [
      {
        file: conclusions,
        find: "return { kind: 'concluded', outcome: { kind: 'abort' }, now };\n  }\n\n  #takeUp",
        replace: "return { kind: 'pending' };\n  }\n\n  #takeUp",
      },
    ],
    [1, 20],
  ),
  inScene(
    'R61',
    'a-home-answers-for-another-birth',
    [
      {
        file: conclusions,
        find: 'if (name.birth !== stored.generation) return',
        replace: 'if (name.birth === 0) return',
      },
    ],
    9,
  ),
  inRuns(
    'R62',
    'a-commit-is-not-sent-to-guests-after-a-restart',
    [
      {
        file: conclusions,
        find: 'of parts.stored.jointCommits ?? []) this',
        replace: 'of (parts.stored.jointCommits ?? []).slice(0, 0)) this',
      },
    ],
    [1, 40],
  ),
  // The guest asks as well, so it does not either.
  inRuns(
    'R62',
    'an-outcome-is-sent-once',
    [
      {
        file: conclusions,
        find: "const isEnough = outcome.kind === 'abort' && addressee.tries >= limits.abortsSentPerGuest;",
        replace: 'const isEnough = true;',
      },
      {
        file: loans,
        find: 'if (loan.askAt <= ready.now) this.#ask(loan);\n      else ready',
        replace: 'if (loan.askAt > ready.now) ready',
      },
    ],
    [1, 20],
  ),
  inScene(
    'R63',
    'leases-are-renewed-under-old-loans',
    [
      {
        file: loans,
        find: 'link.isLeasePaused = isOld;',
        replace: 'link.isLeasePaused = isOld && links.all.length > 9;',
      },
    ],
    2,
  ),
  inScene(
    'R63',
    'loans-of-former-lives-count-as-new',
    [
      {
        file: loans,
        find: '0, Number.NEGATIVE_INFINITY, parts',
        replace: '0, parts.ready.now, parts',
      },
    ],
    18,
  ),
  inScene(
    'R8',
    'homes-are-not-asked-to-end-lesser-loans',
    [{ file: loans, find: '        holder.preempts = priority;\n', replace: '' }],
    19,
  ),
  inScene(
    'R64',
    'regions-are-evicted-under-open-loans',
    [
      {
        file: evictions,
        find: 'if (isShown && this.#areLoansOver(staying)) this',
        replace: 'if (isShown) this',
      },
    ],
    3,
  ),
  inScene(
    'R65',
    'a-region-returns-while-a-loan-is-open',
    [
      {
        file: rejoin,
        find: 'return this.#parts.loans.count === 0 && this',
        replace: 'return this',
      },
      {
        file: rejoin,
        find: 'attempts.undecided > 0 || loans.count > 0',
        replace: 'attempts.undecided > 0',
      },
    ],
    5,
  ),
  inScene(
    'R65',
    'lent-keys-are-read-through-the-guest',
    [
      {
        file: reads,
        find: 'if (loans.length > 0 || this.#isHeldUp(read)) continue;',
        replace: 'if (this.#isHeldUp(read)) continue;',
      },
    ],
    10,
  ),
  inScene(
    'R66',
    'guests-do-not-hear-of-a-minority',
    [
      {
        file: manager,
        find: 'transaction.joint.minority = minority;',
        replace: 'transaction.joint.minority = [];',
      },
    ],
    12,
  ),
  inScene(
    'R66',
    'guests-do-not-hear-of-blocked-keys',
    [
      {
        file: manager,
        find: 'abort(transaction, ready.now, toBlock);',
        replace: 'abort(transaction, ready.now);',
      },
    ],
    13,
  ),
  inScene(
    'R44',
    'a-loan-is-given-at-rest',
    [{ file: core, find: 'sendsPrepares || lends', replace: 'sendsPrepares && !lends' }],
    14,
  ),
];
