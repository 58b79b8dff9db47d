import type { Mutant } from './mutants.ts';
import { mutant } from './mutants-members.ts';

/** R34 to R37: copies, in the core and in the model of a region that the simulation runs. */

const missed = 'shared/protocol/membership/missed-writes.ts';
const missedKeys = 'shared/protocol/regions/missed-keys.ts';
const returns = 'shared/protocol/membership/rejoin.ts';
const copy = 'shared/protocol/membership/copy.ts';
const link = 'shared/protocol/regions/region-link.ts';
const answers = 'shared/protocol/handlers/round-answers.ts';
const model = 'test/region/model.ts';
const shard = 'test/region/shard-model.ts';
const regionHead = 'test/region/region-head.ts';
const script = 'functions/region/lua/copy/copy.lua';

export const copyMutants: readonly Mutant[] = [
  mutant(
    'R34',
    'keeps-locks-when-a-copy-begins',
    'copies',
    [1, 60],
    [
      model,
      'shard.drop();\n        shard.head = { ...head, phase',
      'shard.head = { ...head, phase',
    ],
  ),
  // A prepare from before the copy is fenced by its epoch and its incarnation as well.
  mutant(
    'R34',
    'keeps-the-watermark-when-a-copy-begins',
    'members',
    [20, 120],
    [link, "if (this.membership.state === 'copying') return head.newest;", ''],
    [shard, "if (round.epoch < head.epoch) return { kind: 'fenced', by: 'epoch' };", ''],
    [
      shard,
      "if (transaction[0] < head.incarnation) return { kind: 'fenced', by: 'incarnation' };",
      '',
    ],
  ),
  // A step of an older copy is refused by its epoch as well.
  mutant(
    'R34',
    'copies-under-one-token',
    'copies',
    [1, 100],
    [returns, 'const token = `', "const token = 'copy' || `"],
    [
      regionHead,
      'if (round.incarnation < head.incarnation || round.epoch < head.epoch) return',
      'if (round.epoch < 0) return',
    ],
  ),
  mutant(
    'R34',
    'copies-all-under-the-old-generation',
    'members',
    [1, 20],
    [returns, 'const isRenewed = membership.whole && link.begun;', 'const isRenewed = false;'],
  ),
  // Decisions ride with the round that reads, so that the locks which it finds are undecided.
  mutant(
    'R35',
    'copies-locked-keys',
    'copies',
    [10, 100],
    [model, '(key) => shard.holderOf(key) !== null);', '() => false);'],
    [
      link,
      'const { decisions, bytes, whole } = speaks\n',
      'const { decisions, bytes, whole } = speaks && this.copyStep === null\n',
    ],
  ),
  // The coordinator finds the loss in the answer as well, and then passes no part of it on.
  mutant(
    'R35',
    'copies-unchecked',
    'outage',
    [1, 120],
    [link, 'lastAcknowledged: this.pair,', 'lastAcknowledged: copy === null ? this.pair : null,'],
    [answers, 'isHeard && !link.isQuarantined && result', 'result'],
  ),
  mutant(
    'R35',
    'treats-later-commits-as-copied',
    'copies',
    [1, 60],
    [
      missedKeys,
      'return missedAt !== undefined && missedAt <= noted;',
      'return missedAt !== undefined;',
    ],
  ),
  mutant(
    'R35',
    'leaves-keys-that-the-source-lacks',
    'copies',
    [1, 30],
    [copy, "this.#listCursor = how.whole ? '0' : null;", 'this.#listCursor = null;'],
  ),
  mutant(
    'R35',
    'continues-the-scan-of-another-source',
    'copies',
    [97, 140],
    [copy, "    this.#cursor = '0';\n    this.#counted = 0;", '    this.#counted = 0;'],
  ),
  mutant(
    'R35',
    'records-no-missed-keys-during-a-copy',
    'copies',
    [1, 30],
    [
      missed,
      "membership.state === 'out' ? !membership.whole : membership.state === 'copying'",
      "membership.state === 'out' && !membership.whole",
    ],
  ),
  mutant(
    'R36',
    'accepts-late-copies',
    'copies',
    [206, 300],
    [
      regionHead,
      "if (head.phase === '' || step.token !== head.phase) return 'token';\n      return step.number <= head.copyNumber ? 'number' : null;",
      "if (head.phase === '' || step.token !== head.phase) return 'token';\n      return null;",
    ],
  ),
  // A step of an older copy is refused by its epoch as well.
  mutant(
    'R36',
    'accepts-copies-of-another-token',
    'copies',
    [7, 110],
    [
      regionHead,
      "if (head.phase === '' || step.token !== head.phase) return 'token';",
      "if (head.phase === '') return 'token';",
    ],
    [
      regionHead,
      'if (round.incarnation < head.incarnation || round.epoch < head.epoch) return',
      'if (round.epoch < 0) return',
    ],
  ),
  mutant(
    'R36',
    'is-copied-for-ever',
    'members',
    [1, 30],
    [regionHead, "phase: role === 'voter' ? '' : head.phase,", 'phase: head.phase,'],
  ),
  mutant(
    'R37',
    'cuts-over-during-writes',
    'copies',
    [1, 80],
    [returns, 'if (copy.isComplete && attempts.undecided === 0 && ', 'if (copy.isComplete && '],
  ),
  mutant(
    'R37',
    'votes-again-before-the-last-keys',
    'copies',
    [1, 40],
    [copy, 'return this.nearsEnd && this.left === 0;', 'return this.nearsEnd;'],
  ),
  mutant(
    'R37',
    'pauses-for-ever',
    'copies',
    [40, 150],
    [
      returns,
      'else if (copy.pauseUntil <= now || copy.isOutgrown) {',
      'else if (copy.isOutgrown) {',
    ],
  ),
  mutant(
    'R37',
    'votes-again-in-the-same-epoch',
    'members',
    [1, 20],
    [
      returns,
      'this.#copy = null;\n    state.epoch += 1;\n    target.lease.drop();',
      'this.#copy = null;\n    target.lease.drop();',
    ],
  ),
  mutant(
    'R34',
    'script-keeps-locks-when-a-copy-begins',
    'region',
    [1, 100],
    [script, '    dropShard(region)\n', '    region.phase = token'],
  ),
  mutant(
    'R34',
    'script-copies-over-other-generations',
    'region',
    [68, 100],
    [
      'functions/region/lua/judging.lua',
      'if generation == stored.generation then return newRegion',
      'if generation then return newRegion',
    ],
  ),
  mutant(
    'R35',
    'script-copies-locked-keys',
    'region',
    [4, 100],
    [
      'functions/region/lua/copy/copy-source.lua',
      'local expiry = not locks[key] and ',
      'local expiry = ',
    ],
  ),
  mutant(
    'R36',
    'script-accepts-late-copies',
    'region',
    [47, 150],
    [script, "if kind == 'w' and number <= region.copyNumber then return 'number' end", ''],
  ),
  mutant(
    'R36',
    'script-accepts-copies-of-another-token',
    'region',
    [9, 100],
    [
      script,
      "if kind == 'w' and (region.phase == '' or token ~= region.phase) then return 'token' end",
      '',
    ],
  ),
  mutant(
    'R36',
    'script-accepts-copies-of-older-epochs',
    'region',
    [1, 100],
    [
      script,
      "if round.incarnation < region.incarnation or round.epoch < region.epoch then return 'epoch' end",
      '',
    ],
  ),
  mutant(
    'R37',
    'script-is-copied-for-ever',
    'region',
    [40, 100],
    [
      'functions/region/lua/judging.lua',
      "if round.isVoter then region.phase, region.copyNumber = '', 0 end",
      '',
    ],
  ),
  mutant(
    'R37',
    'script-votes-while-it-is-copied',
    'region',
    [1, 50],
    [
      'functions/region/lua/judging.lua',
      "return round.isVoter and region.phase ~= '' and round.epoch <= region.epoch",
      'return false',
    ],
  ),
];
