/** Assembles the scripts that regions run from the files of lua/, the command table and the limits. */
import type { Operation } from '../../shared/contracts/frame.ts';
import { growingCommands, growingOfGroups } from '../../shared/contracts/growing.ts';
import type { JointRound, JointSnapshotRequest } from '../../shared/contracts/joint.ts';
import {
  type Decision,
  holdScript,
  type Part,
  type Round,
  type SnapshotRequest,
} from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { addressingOf } from './addressing.ts';
import applyText from './lua/apply.lua';
import baseText from './lua/base.lua';
import addressingText from './lua/collections/addressing.lua';
import elementCommandsText from './lua/collections/element-commands.lua';
import elementsText from './lua/collections/elements.lua';
import mergeText from './lua/collections/merge.lua';

import copyText from './lua/copy/copy.lua';
import copySourceText from './lua/copy/copy-source.lua';
import copyTargetText from './lua/copy/copy-target.lua';
import inspectText from './lua/inspect.lua';
import jsonText from './lua/json.lua';
import judgingText from './lua/judging.lua';
import leaseText from './lua/lease.lua';
import memoryText from './lua/memory.lua';
import messagesText from './lua/messages.lua';
import paceText from './lua/pace.lua';
import readText from './lua/read.lua';
import readingText from './lua/reading.lua';
import regionStateText from './lua/region-state.lua';
import regionStoreText from './lua/region-store.lua';
import repliesText from './lua/replies.lua';
import roundText from './lua/round.lua';
import setRoundText from './lua/set-round.lua';
import jointText from './lua/shards/joint.lua';
import jointSnapshotText from './lua/shards/joint-snapshot.lua';
import sharesText from './lua/shards/shares.lua';
import slotsText from './lua/shards/slots.lua';
import snapshotText from './lua/snapshot.lua';
import sortingText from './lua/sorting.lua';
import bitsText from './lua/staging/bits.lua';
import inlineText from './lua/staging/inline.lua';
import packingText from './lua/staging/packing.lua';
import stageText from './lua/staging/stage.lua';
import stateText from './lua/staging/state.lua';
import streamsText from './lua/staging/streams.lua';
import workStagedText from './lua/staging/work-staged.lua';
import scriptBudgetText from './lua/user-scripts/budget.lua';
import scriptDeterminismText from './lua/user-scripts/determinism.lua';
import scriptNamesText from './lua/user-scripts/names.lua';
import scriptNondeterministicText from './lua/user-scripts/nondeterministic.lua';
import scriptPacksText from './lua/user-scripts/packs.lua';
import scriptPatternsText from './lua/user-scripts/patterns.lua';
import scriptReadHostText from './lua/user-scripts/read-host.lua';
import scriptRewritesText from './lua/user-scripts/rewrites.lua';
import scriptRunText from './lua/user-scripts/run.lua';
import scriptSandboxText from './lua/user-scripts/sandbox.lua';
import scriptTablesText from './lua/user-scripts/tables.lua';
import scriptTextsText from './lua/user-scripts/texts.lua';
import scriptWriteHostText from './lua/user-scripts/write-host.lua';
import workText from './lua/work.lua';
import workReadText from './lua/work-read.lua';
import { moduleOf, setText, withoutComments } from './lua-text.ts';
import { copyingCommands, measuredCommands } from './measured-commands.ts';
import { slowCommands } from './slow-commands.ts';
import { scriptTable } from './user-script-table.ts';

/**
 * A script as sent by EVAL. It has no line of flags: a script without flags may continue after its first write although
 * the server is out of memory (base.lua), and only Redis 7 and later know that line.
 */
export interface LuaScript {
  readonly name: string;
  readonly text: string;
}

/** The environment of users' scripts: one module, in this order, because each file uses names of earlier ones. */
const sandboxTexts = [
  scriptSandboxText,
  scriptBudgetText,
  scriptPatternsText,
  scriptTextsText,
  scriptTablesText,
  scriptDeterminismText,
  scriptPacksText,
  scriptNamesText,
];

/** The runner of users' scripts and their environment. */
const userScripts = [
  scriptTable(),
  moduleOf('scriptSandbox', sandboxTexts.join('\n')),
  moduleOf('userScripts', scriptRunText),
];

/** Lua allows 200 local variables per function, so all of this is one module. */
const scriptWriteHost = moduleOf(
  'scriptWriteHost',
  [
    ...userScripts,
    moduleOf('scriptRewrites', scriptRewritesText),
    moduleOf('scriptNondeterministic', scriptNondeterministicText),
    scriptWriteHostText,
  ].join('\n'),
);

const scriptReadHost = moduleOf('scriptReadHost', [...userScripts, scriptReadHostText].join('\n'));

const decisionModule = moduleOf('loadDecisions', `${messagesText}\n${applyText}`);

/** base.lua declares this name already, because several files use it. */
const mergeModule = `loadMergers = function()\n${mergeText}\nend`;

/** Stream and bit commands, of which other files use one name. */
const runnersText = `local runners\nlocal MOST_REACHED=${limits.reachedBytes}\ndo\n${streamsText}\n${bitsText}\nend`;

/** The commands that may grow a value, as one name for other files. */
const growingText = [
  setText('GROWING', growingCommands),
  setText('GROWING_GROUPS', growingOfGroups),
].join('\n');
const memoryModule = moduleOf('loadMemory', `${growingText}\n${memoryText}`);

const slowCommandsText = setText('HEAVY', slowCommands);
const paceModule = `local pace = (function()\n${slowCommandsText}\n${paceText}\nend)()`;

/** The estimate of the work of a command. */
const workTexts = [
  setText('MEASURED', measuredCommands),
  setText('COPYING', copyingCommands),
  `local STEPS_PER_COMMAND,MOST_ENTRIES,MOST_SCANNED=${limits.stepsPerCommand},${limits.entriesPerScript},${limits.scannedPerCommand}`,
  moduleOf('loadWork', workText),
].join('\n');

/** The beginning of every round. */
const headTexts = [baseText, regionStateText, leaseText];

/** The part of most rounds: the region's state, locks, decisions, and transactions that need no shadow. */
const decidingTexts = [
  repliesText,
  regionStoreText,
  decisionModule,
  mergeModule,
  memoryModule,
  moduleOf('loadInline', inlineText),
];

/**
 * The same for most rounds, without the parts that only some need: about half as long. The most common ones end before
 * its longer half.
 */
const shortTexts = [
  ...headTexts,
  setRoundText,
  regionStoreText,
  decisionModule,
  memoryModule,
  moduleOf('loadInline', inlineText),
  "local function loadStaging() again = 'longer' error(again, 0) end",
  'loadMergers = loadStaging',
];

/** Replaces staging by elements and the estimate of work in scripts that need neither. */
const wholeText =
  'local function isAddressed() return false end\nlocal runners = {}\nlocal function excess() end';

const elementTexts = [
  workTexts,
  workStagedText,
  moduleOf('loadElements', `${elementsText}\n${elementCommandsText}`),
  addressingText,
  runnersText,
];

const userScriptTexts = [
  scriptWriteHost,
  // The runner of scripts is created with the first script.
  'function runScript(operation) runScript = scriptWriteHost() return runScript(operation) end',
];

/** Staging with shadows: only rounds that need it execute its definitions. */
function stagingOf(texts: readonly string[], scriptTexts: readonly string[] = []): string {
  const before = [
    'local memory = loadMemory()',
    sortingText,
    packingText,
    stateText,
    paceModule,
    ...texts,
  ];
  const returned = 'return { stage = stage, isLate = pace.isLate }';
  return moduleOf('loadStaging', [...before, stageText, ...scriptTexts, returned].join('\n'));
}

const copyTexts = [
  jsonText,
  moduleOf('copySource', `${sortingText}\n${copySourceText}`),
  moduleOf('copyTarget', copyTargetText),
  copyText,
];

/**
 * The scripts of rounds; encoding.ts writes their argument, decoding.ts reads their reply. They give the same result for
 * every round that they support, and differ in length; each is sent when it is first needed.
 */
export const roundScripts = {
  /** Decisions alone, or prepares that need no shadow alone; anything else that it meets needs a longer text. */
  short: scriptOf('short round', [...shortTexts, judgingText, roundText]),
  /** Decisions, and commands that take values whole. The most common rounds end early here too. */
  plain: scriptOf('round', [
    ...headTexts,
    setRoundText,
    ...decidingTexts,
    stagingOf([wholeText]),
    judgingText,
    roundText,
  ]),
  /** Also commands that address elements of collections, streams, and numbers too wide for Lua. */
  elements: scriptOf('round by elements', [
    ...headTexts,
    ...decidingTexts,
    stagingOf(elementTexts),
    judgingText,
    roundText,
  ]),
  /** Also users' scripts, which may call any command. */
  scripts: scriptOf('round with scripts', [
    ...headTexts,
    ...decidingTexts,
    stagingOf(elementTexts, userScriptTexts),
    judgingText,
    roundText,
  ]),
  /** Decisions and a step of a copy. */
  copy: scriptOf('round of a copy', [
    ...headTexts,
    ...decidingTexts,
    stagingOf([wholeText]),
    ...copyTexts,
    judgingText,
    roundText,
  ]),
  /** Everything; a coordinator does not prepare in a round with a step of a copy. */
  all: scriptOf('round of all', [
    ...headTexts,
    ...decidingTexts,
    stagingOf(elementTexts, userScriptTexts),
    ...copyTexts,
    judgingText,
    roundText,
  ]),
} as const;

/** The states of several shards in one script, and the commits of joint transactions. */
const sharesTexts = [moduleOf('loadSlots', slotsText), sharesText];

/** The same scripts for rounds with commits of joint transactions. */
const sharesRoundScripts = {
  plain: lazyScriptOf('round with shares', [
    ...headTexts,
    ...decidingTexts,
    stagingOf([wholeText]),
    judgingText,
    ...sharesTexts,
    roundText,
  ]),
  all: lazyScriptOf('round of all with shares', [
    ...headTexts,
    ...decidingTexts,
    stagingOf(elementTexts, userScriptTexts),
    ...copyTexts,
    judgingText,
    ...sharesTexts,
    roundText,
  ]),
} as const;

/** The scripts of joint rounds; joint-encoding.ts writes their argument, joint-decoding.ts reads their reply. */
const jointScripts = {
  plain: lazyScriptOf('joint round', [
    ...headTexts,
    ...decidingTexts,
    stagingOf([wholeText]),
    judgingText,
    ...sharesTexts,
    jointText,
  ]),
  all: lazyScriptOf('joint round of all', [
    ...headTexts,
    ...decidingTexts,
    stagingOf(elementTexts, userScriptTexts),
    judgingText,
    ...sharesTexts,
    jointText,
  ]),
} as const;

/** Returns the shortest script that supports the joint round. */
export function jointScriptFor({ prepare }: JointRound): LuaScript {
  return isPlain(prepare.parts) ? jointScripts.plain : jointScripts.all;
}

/** True if the operations take values whole, and none is a user's script. */
function isPlain(parts: readonly Part[]): boolean {
  return parts.every(({ operations }) =>
    operations.every((operation) => operation.kind !== 'script' && !needsElements(operation)),
  );
}

/** True if a commit among them names shares of other shards. */
function haveShares(decisions: readonly Decision[]): boolean {
  return decisions.some(({ otherShares }) => otherShares !== undefined);
}

/** Returns the script that probably suffices for the round: the shortest one. */
export function roundScriptFor(round: Round): LuaScript {
  return isShort(round) ? roundScripts.short : longRoundScriptFor(round);
}

/** True for a round whose script can stop before it has changed anything, if it turns out to need a longer text. */
function isShort({ decisions, prepares, copy }: Round): boolean {
  if (copy !== null || (decisions.length > 0 && prepares.length > 0)) return false;
  if (haveShares(decisions)) return false;
  return prepares.every(({ parts }) =>
    parts.every(({ checks, operations }) => checks.length === 0 && operations.every(isInline)),
  );
}

/** The commands that inline.lua carries out. */
const inlineCommands: ReadonlySet<string> = new Set(
  'APPEND DECR DECRBY GET GETDEL GETSET INCR INCRBY SET SETNX'.split(' '),
);

function isInline({ kind, args }: Operation): boolean {
  if (kind === 'set' || kind === 'delete') return true;
  return (
    (kind === 'write' || kind === 'read' || kind === 'append') && inlineCommands.has(args[0] ?? '')
  );
}

/** Returns the shortest script that certainly supports the round. */
export function longRoundScriptFor({ decisions, prepares, copy }: Round): LuaScript {
  if (haveShares(decisions)) {
    const isAllPlain = copy === null && prepares.every(({ parts }) => isPlain(parts));
    return isAllPlain ? sharesRoundScripts.plain : sharesRoundScripts.all;
  }
  const operations = prepares.flatMap(({ parts }) => parts.flatMap((part) => part.operations));
  const hasScripts = operations.some(({ kind }) => kind === 'script');
  const hasElements = operations.some(needsElements);
  if (copy !== null) return hasScripts || hasElements ? roundScripts.all : roundScripts.copy;
  if (hasScripts) return roundScripts.scripts;
  return hasElements ? roundScripts.elements : roundScripts.plain;
}

function needsElements({ kind, args }: Operation): boolean {
  switch (kind) {
    case 'append':
    case 'trim':
    case 'distances':
    case 'deliver':
    case 'claim':
    case 'bits':
    case 'pop':
      return true;
    case 'write':
    case 'read':
      return isMeasured(args[0] ?? '') || addressingOf(args[0] ?? '') !== null;
    case 'set':
    case 'delete':
    case 'ttl':
    case 'script':
    case 'publish':
    case 'flush':
    case 'fail':
      return false;
  }
}

/** True if the region reads sizes before it runs the command; bits.lua does so for two. */
function isMeasured(name: string): boolean {
  return (
    name === 'LCS' || name === 'APPEND' || measuredCommands.has(name) || copyingCommands.has(name)
  );
}

/** The parts of every snapshot. */
const readingTexts = [
  baseText,
  repliesText,
  regionStateText,
  regionStoreText,
  decisionModule,
  mergeModule,
  workTexts,
  workReadText,
];

/** The scripts of snapshots; encoding.ts writes their argument, decoding.ts reads their reply. */
const snapshotScripts = {
  plain: scriptOf('snapshot', [...readingTexts, slowCommandsText, readingText, snapshotText]),
  scripts: scriptOf('snapshot with scripts', [
    ...readingTexts,
    scriptReadHost,
    slowCommandsText,
    readingText,
    snapshotText,
  ]),
  /** Also commits of joint transactions. */
  shares: lazyScriptOf('snapshot with shares', [
    ...readingTexts,
    scriptReadHost,
    slowCommandsText,
    readingText,
    ...sharesTexts,
    snapshotText,
  ]),
} as const;

/** The scripts of snapshots over several shards. */
const jointSnapshotScripts = {
  plain: lazyScriptOf('joint snapshot', [
    ...readingTexts,
    slowCommandsText,
    readingText,
    ...sharesTexts,
    jointSnapshotText,
  ]),
  scripts: lazyScriptOf('joint snapshot with scripts', [
    ...readingTexts,
    scriptReadHost,
    slowCommandsText,
    readingText,
    ...sharesTexts,
    jointSnapshotText,
  ]),
} as const;

/** The script of a snapshot of short strings; encoding.ts writes its arguments, decoding.ts reads its reply. */
export const readScript = scriptOf('read', [readText]);

/** Returns the shortest script that supports the snapshot. */
export function snapshotScriptFor({ commands, settle }: SnapshotRequest): LuaScript {
  if (haveShares(settle)) return snapshotScripts.shares;
  return holdScript(commands) ? snapshotScripts.scripts : snapshotScripts.plain;
}

/** Returns the shortest script that supports the snapshot over several shards. */
export function jointSnapshotScriptFor({ commands }: JointSnapshotRequest): LuaScript {
  return holdScript(commands) ? jointSnapshotScripts.scripts : jointSnapshotScripts.plain;
}

/** The script of an inspection; encoding.ts writes its argument, decoding.ts reads its reply. */
export const inspectScript = scriptOf('inspect', [
  baseText,
  regionStateText,
  regionStoreText,
  jsonText,
  sortingText,
  inspectText,
]);

/** Every script that is sent to regions. */
export const everyScript: readonly LuaScript[] = [
  ...Object.values(roundScripts),
  ...Object.values(sharesRoundScripts),
  ...Object.values(jointScripts),
  ...Object.values(snapshotScripts),
  ...Object.values(jointSnapshotScripts),
  readScript,
  inspectScript,
];

/** The SHA-1 of `text` in hex, which EVALSHA takes. */
export async function digestOf(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-1', new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function scriptOf(name: LuaScript['name'], texts: readonly string[]): LuaScript {
  return { name, text: withoutComments(texts.join('\n')) };
}

/** As scriptOf, for a text that is assembled when it is first needed. */
function lazyScriptOf(name: LuaScript['name'], texts: readonly string[]): LuaScript {
  let text: string | null = null;
  return {
    name,
    get text() {
      text ??= withoutComments(texts.join('\n'));
      return text;
    },
  };
}
