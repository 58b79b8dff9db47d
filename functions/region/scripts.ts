import { growingCommands, growingOfGroups } from '../../shared/protocol/growing.ts';
import addressingText from './addressing.lua';
import applyText from './apply.lua';
import baseText from './base.lua';
import bitsText from './bits.lua';
import copyText from './copy.lua';
import copySourceText from './copy-source.lua';
import copyTargetText from './copy-target.lua';
import elementWaysText from './element-ways.lua';
import elementsText from './elements.lua';
import inspectText from './inspect.lua';
import memoryText from './memory.lua';
import mergeText from './merge.lua';
import messagesText from './messages.lua';
import roundText from './round.lua';
import snapshotText from './snapshot.lua';
import stageText from './stage.lua';
import stateText from './state.lua';
import streamsText from './streams.lua';
import scriptBudgetText from './user-scripts/budget.lua';
import scriptCommandsText from './user-scripts/commands.lua';
import scriptRoundsText from './user-scripts/in-rounds.lua';
import scriptSnapshotsText from './user-scripts/in-snapshots.lua';
import scriptLooksText from './user-scripts/looks.lua';
import scriptNamesText from './user-scripts/names.lua';
import scriptPacksText from './user-scripts/packs.lua';
import scriptPatternsText from './user-scripts/patterns.lua';
import scriptRunText from './user-scripts/run.lua';
import scriptSameText from './user-scripts/same.lua';
import scriptSightText from './user-scripts/sight.lua';
import { scriptTable } from './user-scripts/table.ts';
import scriptTablesText from './user-scripts/tables.lua';
import scriptTextsText from './user-scripts/texts.lua';

/**
 * Commits must go through when the server is out of memory, and one script touches keys of any slot. Servers from
 * Redis 7 on take the flags from the first line; older ones and some compatible ones know no such line, and do without.
 */
const flags = '#!lua flags=allow-oom,allow-cross-slot-keys\n';

/** A script as sent by EVAL, with and without the line of flags. */
export interface Script {
  readonly name: 'round' | 'snapshot' | 'inspect';
  readonly flagged: string;
  readonly plain: string;
}

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

/** The script of a round; encoding.ts writes its argument, decoding.ts reads its reply. */
export const roundScript = scriptOf('round', [
  baseText,
  messagesText,
  applyText,
  mergeModule,
  stateText,
  moduleOf('loadElements', `${elementsText}\n${elementWaysText}`),
  addressingText,
  runnersText,
  memoryModule,
  stageText,
  scriptsInRounds,
  // What runs scripts is made with the first one.
  'function runScript(operation) runScript = scriptStage() return runScript(operation) end',
  moduleOf('copySource', copySourceText),
  moduleOf('copyTarget', copyTargetText),
  copyText,
  roundText,
]);

/** The script of a snapshot; encoding.ts writes its argument, decoding.ts reads its reply. */
export const snapshotScript = scriptOf('snapshot', [
  baseText,
  messagesText,
  applyText,
  mergeModule,
  scriptsInSnapshots,
  snapshotText,
]);

/** The script of an inspection; encoding.ts writes its argument, decoding.ts reads its reply. */
export const inspectScript = scriptOf('inspect', [baseText, messagesText, applyText, inspectText]);

/** The name that EVALSHA knows `text` by. */
export async function digestOf(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-1', new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function scriptOf(name: Script['name'], texts: readonly string[]): Script {
  const plain = withoutComments(texts.join('\n'));
  return { name, flagged: flags + plain, plain };
}

/** A local table of Lua whose keys are the names. */
function setText(name: string, names: ReadonlySet<string>): string {
  return `local ${name} = {${Array.from(names, (each) => `['${each}']=1`).join(',')}}`;
}

/** A text as a function, so that only who calls it pays for what it defines, and its names are its own. */
function moduleOf(name: string, text: string): string {
  return `local function ${name}(...)\n${text}\nend`;
}

/** The first use of a script sends its whole text, so what only people read stays here. Line numbers are kept. */
function withoutComments(text: string): string {
  return text.replaceAll(/^[ \t]*--.*$/gm, '').replaceAll(/^ +/gm, '');
}
