import type { Mutant } from './mutants.ts';
import type { Patch } from './mutation.ts';

/** R13 to R16 and R21 to R27 in the scripts themselves, which the seeded runs hold against the model of a region. */

function inScript(file: string, find: string, replace: string): Patch {
  return { file: `functions/region/lua/${file}`, find, replace };
}

function round(find: string, replace: string): Patch {
  return inScript('judging.lua', find, replace);
}

function memory(find: string, replace: string): Patch {
  return inScript('memory.lua', find, replace);
}

const state = 'functions/region/lua/region-state.lua';
const read = 'functions/region/lua/read.lua';

/** Of R27, in the scripts of a region. */
function expiry(name: string, file: string, find: string, replace: string): Mutant {
  const patches = [inScript(file, find, replace)];
  return { rule: 'R27', name, patches, runner: 'staging', seeds: [1, 100] };
}

/** Of a rule that set-round.lua enforces for the rounds that it carries out. */
function setRound(rule: Mutant['rule'], name: string, find: string, replace: string): Mutant {
  const patches = [inScript('set-round.lua', find, replace)];
  return { rule, name: `set-round-${name}`, patches, runner: 'sets', seeds: [1, 100] };
}

const setRoundMutants: readonly Mutant[] = [
  setRound('R13', 'accepts-other-generations', 'region.generation ~= generation or ', ''),
  setRound('R13', 'ignores-epochs', 'region.epoch ~= epoch or ', ''),
  setRound('R13', 'ignores-incarnations', 'region.incarnation ~= incarnation or ', ''),
  setRound(
    'R14',
    'prepares-below-the-watermark',
    ' or not isAfter(incarnation, sequence, region.lowWatermark) then return false',
    ' then return false',
  ),
  setRound(
    'R14',
    'prepares-settled-transactions',
    'if isSettled(region, incarnation, sequence) then return false end',
    '',
  ),
  setRound('R15', 'applies-locks-of-others', 'if holder ~= id then return false end', ''),
  setRound('R15', 'settles-nothing', 'addSettled(region, incarnation, sequence)', ''),
  setRound('R16', 'compares-no-pairs', ' or lossOf(region, lastAcknowledged) then', ' then'),
  setRound('R16', 'leaves-no-pair', 'appendPair(region, nonce, bounds[1])', ''),
  setRound(
    'R21',
    'takes-locked-keys',
    'if locks[key] or key == EVERY then',
    'if key == EVERY then',
  ),
  setRound('R41', 'passes-the-lock-on-all-keys', 'if locks[EVERY] then return false end', ''),
];

const expiryMutants: readonly Mutant[] = [
  expiry(
    'script-postpones-no-expiry',
    'staging/stage.lua',
    'expiryPutOffMs = bounds[8]',
    'expiryPutOffMs = 0',
  ),
  expiry(
    'script-settles-no-expiry',
    'apply.lua',
    "type(redis.pcall('PEXPIREAT', shadow, whole(expiry))) == 'table'",
    'false',
  ),
  expiry(
    'script-postpones-no-expiry-of-the-base',
    'staging/state.lua',
    "must('COPY', key, name, 'REPLACE')\n      putOffCopied(name, state)",
    "must('COPY', key, name, 'REPLACE')",
  ),
  expiry(
    'script-postpones-no-expiry-of-a-copy',
    'staging/stage.lua',
    'putOffCopied(arguments[3], stateOf(arguments[2]))',
    '',
  ),
  expiry(
    'script-postpones-no-expiry-of-elements',
    'collections/elements.lua',
    "must('PEXPIREAT', name, putOff(part.expiry))",
    "must('PEXPIREAT', name, whole(part.expiry))",
  ),
  expiry(
    'script-postpones-no-expiry-of-merged-values',
    'collections/elements.lua',
    'expiry == -1 and -1 or expiry + tx.expiryPutOffMs',
    'expiry',
  ),
];

export const scriptMutants: readonly Mutant[] = [
  ...setRoundMutants,
  ...expiryMutants,
  {
    rule: 'R13',
    name: 'script-accepts-rounds-of-other-generations',
    patches: [
      round('if not region or region.generation ~= round.generation then', 'if not region then'),
    ],
    runner: 'region',
    seeds: [1, 50],
  },
  {
    rule: 'R13',
    name: 'script-begins-unasked',
    patches: [round('(begins or (round.begin and round.isVoter)) and countKeys', 'countKeys')],
    runner: 'region',
    seeds: [1, 100],
  },
  {
    rule: 'R13',
    name: 'script-ignores-epochs',
    patches: [round('if round.epoch < region.epoch then', 'if false then')],
    runner: 'region',
    seeds: [1, 50],
  },
  {
    rule: 'R13',
    name: 'script-ignores-incarnations',
    patches: [round('if prepare[1] < region.incarnation then', 'if false then')],
    runner: 'region',
    seeds: [12, 100],
  },
  {
    rule: 'R13',
    name: 'script-accepts-decisions-about-later-incarnations',
    patches: [round('if decision[1] > incarnation then', 'if false then')],
    runner: 'region',
    seeds: [3, 50],
  },
  {
    rule: 'R14',
    name: 'script-prepares-below-the-watermark',
    patches: [
      round('if not isAfter(prepare[1], prepare[2], region.lowWatermark) then', 'if false then'),
    ],
    runner: 'region',
    seeds: [3, 20],
  },
  {
    rule: 'R14',
    name: 'script-prepares-settled-transactions',
    patches: [round(`if isSettled(region, prepare[1], prepare[2]) then return { 't' } end`, '')],
    runner: 'region',
    seeds: [12, 20],
  },
  {
    rule: 'R14',
    name: 'script-votes-twice',
    patches: [round(`if countLocked(locks, keys, id) > 0 then return { 'd' } end`, '')],
    runner: 'region',
    seeds: [10, 100],
  },
  {
    rule: 'R15',
    name: 'script-forgets-settled-transactions',
    patches: [round('if isSettled(region, decision[1], decision[2]) then', 'if false then')],
    runner: 'region',
    seeds: [1, 20],
  },
  {
    rule: 'R15',
    name: 'script-acknowledges-unknown-commits',
    patches: [round('if count > 0 or decision[3] == 1 then', 'if count > 0 then')],
    runner: 'region',
    seeds: [1, 10],
  },
  {
    rule: 'R16',
    name: 'script-compares-no-counters',
    patches: [
      {
        file: state,
        find: 'if lastAcknowledged == 0 then return nil end',
        replace:
          'if lastAcknowledged == 0 or lastAcknowledged[1] > region.counter then return nil end',
      },
    ],
    runner: 'region',
    seeds: [1, 20],
  },
  {
    rule: 'R16',
    name: 'script-compares-no-nonces',
    patches: [
      {
        file: state,
        find: "',' .. whole(counter) .. ':' .. nonce .. ','",
        replace: "',' .. whole(counter) .. ':'",
      },
    ],
    runner: 'region',
    seeds: [20, 200],
  },
  {
    rule: 'R21',
    name: 'script-releases-locks-of-dead-instances',
    patches: [
      round(
        'if locks[key] then return lockedVote',
        'if locks[key] and orderOf(holderOf(locks[key])) >= prepare[1] then return lockedVote',
      ),
    ],
    runner: 'region',
    seeds: [20, 120],
  },
  {
    rule: 'R22',
    name: 'script-judges-the-base-by-its-own-clock',
    patches: [
      {
        file: 'functions/region/lua/staging/state.lua',
        find: 'elseif expiry <= tx.now then',
        replace: 'elseif expiry < 0 then',
      },
    ],
    runner: 'region',
    seeds: [12, 200],
  },
  {
    rule: 'R16',
    name: 'script-leaves-the-same-pair-for-another-outcome',
    patches: [
      inScript('round.lua', 'round.nonce .. outcomeOf(decisions, letters, copy)', 'round.nonce'),
    ],
    runner: 'memory',
    seeds: [1, 10],
  },
  {
    rule: 'R23',
    name: 'script-writes-before-it-knows-of-its-memory',
    patches: [round('if #region.leftovers > 0 then probe(round) end', '')],
    runner: 'memory',
    seeds: [1, 20],
  },
  {
    rule: 'R23',
    name: 'script-stages-without-memory',
    patches: [memory('return isFull == true', 'return false')],
    runner: 'memory',
    seeds: [1, 10],
  },
  {
    rule: 'R23',
    name: 'script-frees-nothing-without-memory',
    patches: [
      memory('elseif not isNamed(GROWING, name) then', 'elseif false then'),
      memory('elseif kind ~= 2 and kind ~= 6 and kind ~= 9 then', 'elseif false then'),
    ],
    runner: 'memory',
    seeds: [1, 10],
  },
  {
    rule: 'R23',
    name: 'script-commits-only-with-memory',
    patches: [
      {
        file: 'functions/region/lua/base.lua',
        find: "      redis.pcall('UNLINK', NOWHERE)\n",
        replace: '',
      },
    ],
    runner: 'memory',
    seeds: [1, 10],
  },
  {
    rule: 'R24',
    name: 'script-sorts-no-members',
    patches: [
      {
        file: 'functions/region/reply-shape.ts',
        find: "if (order === 'members') return items.toSorted(compareBytes);",
        replace: '',
      },
    ],
    runner: 'region',
    seeds: [1, 20],
  },
  {
    rule: 'R24',
    name: 'script-draws-from-unsorted-members',
    patches: [
      {
        file: 'functions/region/lua/staging/stage.lua',
        find: 'drawMembers(sortByBytes(members)',
        replace: 'drawMembers((members)',
      },
    ],
    runner: 'region',
    seeds: [26, 200],
  },
  {
    rule: 'R24',
    name: 'script-counts-ttl-from-its-own-clock',
    patches: [
      {
        file: 'functions/region/lua/staging/stage.lua',
        find: 'expiry - tx.now or expiry',
        replace: "expiry - redis.call('TIME')[1] * 1000 or expiry",
      },
    ],
    runner: 'region',
    seeds: [1, 100],
  },
  {
    rule: 'R25',
    name: 'script-applies-nothing-for-readers',
    patches: [
      {
        file: 'functions/region/lua/snapshot.lua',
        find: '  settle(region, given[3])\n',
        replace: '',
      },
    ],
    runner: 'region',
    seeds: [1, 100],
  },
  {
    rule: 'R25',
    name: 'script-reads-short-values-past-locks',
    patches: [{ file: read, find: 'if wanted[key] then', replace: 'if false then' }],
    runner: 'region',
    seeds: [12, 100],
  },
  {
    rule: 'R16',
    name: 'script-reads-short-values-by-any-pair',
    patches: [{ file: read, find: "if ARGV[4] ~= '' then", replace: 'if false then' }],
    runner: 'region',
    seeds: [4, 100],
  },
  {
    rule: 'R26',
    name: 'script-reports-locks-to-weak-reads',
    patches: [
      {
        file: 'functions/region/lua/snapshot.lua',
        find: 'given[2] == 1 and locksOf(given[4], isFirst and hasKeyspaceCommand(given[5])) or {}',
        replace: 'locksOf(given[4], isFirst and hasKeyspaceCommand(given[5]))',
      },
    ],
    runner: 'region',
    seeds: [1, 20],
  },
];
