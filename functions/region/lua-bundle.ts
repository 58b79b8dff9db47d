import type { Operation } from '../../shared/contracts/frame.ts';
import { growingCommands, growingOfGroups } from '../../shared/contracts/growing.ts';
import type { Round, SnapshotRequest } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { addressingOf } from './addressing.ts';
import { heavyCommands } from './heavy.ts';
import applyText from './lua/apply.lua';
import baseText from './lua/base.lua';
import addressingText from './lua/collections/addressing.lua';
import elementWaysText from './lua/collections/element-commands.lua';
import elementsText from './lua/collections/elements.lua';
import mergeText from './lua/collections/merge.lua';
import copyText from './lua/copy/copy.lua';
import copySourceText from './lua/copy/copy-source.lua';
import copyTargetText from './lua/copy/copy-target.lua';
import inspectText from './lua/inspect.lua';
import leaseText from './lua/lease.lua';
import memoryText from './lua/memory.lua';
import messagesText from './lua/messages.lua';
import paceText from './lua/pace.lua';
import roundText from './lua/round.lua';
import snapshotText from './lua/snapshot.lua';
import bitsText from './lua/staging/bits.lua';
import stageText from './lua/staging/stage.lua';
import stateText from './lua/staging/state.lua';
import streamsText from './lua/staging/streams.lua';
import workStagedText from './lua/staging/work-staged.lua';
import scriptBudgetText from './lua/user-scripts/budget.lua';
import scriptSameText from './lua/user-scripts/determinism.lua';
import scriptNamesText from './lua/user-scripts/names.lua';
import scriptLooksText from './lua/user-scripts/nondeterministic.lua';
import scriptPacksText from './lua/user-scripts/packs.lua';
import scriptPatternsText from './lua/user-scripts/patterns.lua';
import scriptSnapshotsText from './lua/user-scripts/read-host.lua';
import scriptCommandsText from './lua/user-scripts/rewrites.lua';
import scriptRunText from './lua/user-scripts/run.lua';
import scriptSightText from './lua/user-scripts/sandbox.lua';
import scriptTablesText from './lua/user-scripts/tables.lua';
import scriptTextsText from './lua/user-scripts/texts.lua';
import scriptRoundsText from './lua/user-scripts/write-host.lua';
import workText from './lua/work.lua';
import workReadText from './lua/work-read.lua';
import { scriptTable } from './user-script-table.ts';
import { copyingCommands, measuredCommands } from './work.ts';

/**
 * Commits must go through when the server is out of memory, and one script touches keys of any slot. Servers from
 * Redis 7 on take the flags from the first line; older ones and some compatible ones know no such line, and do without.
 */
export const flagsLine = '#!lua flags=allow-oom,allow-cross-slot-keys\n';

/** Tells whether a server knows the line of flags: one that does not reads it as a syntax error. */
export const flagsProbe = `${flagsLine}return 1`;

/** A script as sent by EVAL, with and without the line of flags. */
export interface Script {
  readonly name: string;
  readonly flagged: string;
  readonly plain: string;
}

/** A text of Lua in quotes or brackets, which stays as it is, or an operator with the spaces around it. */
const textOrOperator =
  /('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|\[(=*)\[[\s\S]*?\]\2\])| *([=~<>]=|[=<>,{}+*#]) */g;

/** What a user's script sees: one module, in this order, as each of them uses names of those before it. */
const sightTexts = [
  scriptSightText,
  scriptBudgetText,
  scriptPatternsText,
  scriptTextsText,
  scriptTablesText,
  scriptSameText,
  scriptPacksText,
  scriptNamesText,
];

/** What runs a user's script, with what that sees. */
const userScripts = [
  scriptTable(),
  moduleOf('scriptSight', sightTexts.join('\n')),
  moduleOf('userScripts', scriptRunText),
];

/** A script has room for few more names, so all of it is one module. */
const scriptsInRounds = moduleOf(
  'scriptStage',
  [
    ...userScripts,
    moduleOf('scriptCommands', scriptCommandsText),
    moduleOf('scriptLooks', scriptLooksText),
    scriptRoundsText,
  ].join('\n'),
);

const scriptsInSnapshots = moduleOf(
  'scriptReads',
  [...userScripts, scriptSnapshotsText].join('\n'),
);

/** apply.lua has the name already, as its functions use it. */
const mergeModule = `loadMergers = function()\n${mergeText}\nend`;

/** Of these the rest needs one name. */
const runnersText = `local runners\ndo\n${streamsText}\n${bitsText}\nend`;

/** Of this the rest needs one name. */
const growingText = [
  setText('GROWING', growingCommands),
  setText('GROWING_GROUPS', growingOfGroups),
].join('\n');
const memoryModule = `local memory = (function()\n${growingText}\n${memoryText}\nend)()`;

const heavyText = setText('HEAVY', heavyCommands);
const paceModule = `local pace = (function()\n${heavyText}\n${paceText}\nend)()`;

/** What knows how long a command takes. */
const workTexts = [
  setText('MEASURED', measuredCommands),
  setText('COPYING', copyingCommands),
  `local STEPS_PER_COMMAND,MOST_ENTRIES,MOST_SCANNED=${limits.stepsPerCommand},${limits.entriesPerScript},${limits.scannedPerCommand}`,
  moduleOf('loadWork', workText),
].join('\n');

/** What every round has: locks and decisions, with all that a commit may merge, and the state of what is staged. */
const decidingTexts = [
  baseText,
  messagesText,
  applyText,
  mergeModule,
  memoryModule,
  stateText,
  paceModule,
];

/** In place of what stages by elements: nothing is. Nor is there a command that may take long. */
const wholeText =
  'local function isAddressed() return false end\nlocal runners = {}\nlocal function excess() end';

const elementTexts = [
  workTexts,
  workStagedText,
  moduleOf('loadElements', `${elementsText}\n${elementWaysText}`),
  addressingText,
  runnersText,
];

/** What may prepare anything. */
const anyTexts = [
  ...decidingTexts,
  ...elementTexts,
  stageText,
  scriptsInRounds,
  // What runs scripts is made with the first one.
  'function runScript(operation) runScript = scriptStage() return runScript(operation) end',
];

const copyTexts = [
  moduleOf('copySource', copySourceText),
  moduleOf('copyTarget', copyTargetText),
  copyText,
];

/**
 * The scripts of rounds; encoding.ts writes their argument, decoding.ts reads their reply. A server runs the same round
 * by each of them that has the words for it; they differ in their length, and each is sent when it is first needed.
 */
export const roundScripts = {
  /** Decisions, and commands that take values whole. */
  plain: scriptOf('round', [...decidingTexts, wholeText, stageText, leaseText, roundText]),
  /** Commands that address elements of collections, streams, and numbers too wide for Lua as well. */
  elements: scriptOf('round by elements', [
    ...decidingTexts,
    ...elementTexts,
    stageText,
    leaseText,
    roundText,
  ]),
  /** Users' scripts as well, which may call any command. */
  scripts: scriptOf('round with scripts', [...anyTexts, leaseText, roundText]),
  /** Decisions and a step of a copy. */
  copy: scriptOf('round of a copy', [
    ...decidingTexts,
    wholeText,
    stageText,
    leaseText,
    ...copyTexts,
    roundText,
  ]),
  /** All of it; no coordinator prepares beside a step of a copy. */
  all: scriptOf('round of all', [...anyTexts, leaseText, ...copyTexts, roundText]),
} as const;

/** The shortest script that has the words for the round. */
export function roundScriptFor({ prepares, copy }: Round): Script {
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

/** What one command takes is bounded beside what stages by elements; so is what LCS compares. */
function isMeasured(name: string): boolean {
  return name === 'LCS' || measuredCommands.has(name) || copyingCommands.has(name);
}

/** What every snapshot has. */
const readingTexts = [baseText, messagesText, applyText, mergeModule, workTexts, workReadText];

/** The scripts of snapshots; encoding.ts writes their argument, decoding.ts reads their reply. */
const snapshotScripts = {
  plain: scriptOf('snapshot', [...readingTexts, heavyText, snapshotText]),
  scripts: scriptOf('snapshot with scripts', [
    ...readingTexts,
    scriptsInSnapshots,
    heavyText,
    snapshotText,
  ]),
} as const;

/** The shortest script that has the words for the snapshot. */
export function snapshotScriptFor({ commands }: SnapshotRequest): Script {
  const hasScripts = commands.some(({ args }) => args[0] === 'EVAL_RO');
  return hasScripts ? snapshotScripts.scripts : snapshotScripts.plain;
}

/** The script of an inspection; encoding.ts writes its argument, decoding.ts reads its reply. */
export const inspectScript = scriptOf('inspect', [baseText, messagesText, applyText, inspectText]);

/** Every script that a region is sent. */
export const everyScript: readonly Script[] = [
  ...Object.values(roundScripts),
  ...Object.values(snapshotScripts),
  inspectScript,
];

/** The name that EVALSHA knows `text` by. */
export async function digestOf(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-1', new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function scriptOf(name: Script['name'], texts: readonly string[]): Script {
  const plain = withoutComments(texts.join('\n'));
  return { name, flagged: flagsLine + plain, plain };
}

/** The names as a text for `isNamed` of base.lua: a table would be filled anew by each run of the script. */
function setText(name: string, names: ReadonlySet<string>): string {
  return `local ${name}=' ${[...names].join(' ')} '`;
}

/** A text as a function, so that only who calls it pays for what it defines, and its names are its own. */
function moduleOf(name: string, text: string): string {
  return `local function ${name}(...)\n${text}\nend`;
}

/**
 * The first use of a script sends its whole text, so what only people read stays here. The table of commands begins with
 * an empty line, which counts.
 */
function withoutComments(text: string): string {
  return text
    .replaceAll(/^[ \t]*--.*$/gm, '')
    .replaceAll(/^ +/gm, '')
    .replaceAll(textOrOperator, '$1$3')
    .replaceAll(/,$\n/gm, ',')
    .replaceAll(/(?<!\[==\[)\n{2,}/g, '\n')
    .replaceAll(/\nend$/gm, ' end');
}
