import { compileReads, compileWrite } from '../../../shared/commands/compile.ts';
import { promised } from '../../../shared/commands/lua-text.ts';
import {
  digestFrom,
  type ScriptLookup,
  type UserScript,
} from '../../../shared/commands/user-scripts.ts';
import { asReadOnly, refusalOf, type UpstashPlan } from '../../../shared/upstash/plan.ts';
import type { UpstashCommand } from '../../../shared/upstash/request.ts';
import { failed, type PlannedCommand, type UpstashRun } from './request.ts';

/** A script as its command brings it: planned, and with its digest where it comes by that. */
interface ScriptCall {
  readonly command: UpstashCommand;
  readonly plan: Extract<UpstashPlan, { kind: 'script' }>;
  readonly sha: string | null;
}

/**
 * Plans users' scripts as what they are: reads, where their texts show it or their commands ask for it, and else writes.
 * One whose text is not remembered here is a write, unless it must not be: the coordinator has its text.
 */
export async function planScripts(
  run: UpstashRun,
  planned: readonly PlannedCommand[],
): Promise<readonly PlannedCommand[]> {
  const ignorance = await learnTexts(run, planned);
  /** What EVAL brings is known to those behind it. */
  const brought = new Map<string, UserScript>();
  return planned.map((one) => {
    const call = callOf(one);
    if (call === null) return one;
    const { command, plan, sha } = call;
    const script = sha === null ? run.scripts.read(command[1] ?? '') : run.scripts.find(sha);
    if (script !== null && plan.mayBeKept) brought.set(script.sha, script);
    const known = script ?? brought.get(sha ?? '') ?? null;
    // A read by a digest needs the text; a write has it looked up where it is carried out.
    if (ignorance !== null && known === null && plan.readsOnly) return refused(one, ignorance);
    return { command, plan: planOfCall(run, call, known) };
  });
}

/** Asks for the texts that reads need. Null, or why that was in vain. */
async function learnTexts(
  { scripts }: UpstashRun,
  planned: readonly PlannedCommand[],
): Promise<ReturnType<typeof failed> | null> {
  const named = planned.flatMap((one) => {
    const { sha = null, plan } = callOf(one) ?? {};
    return sha === null || plan === undefined ? [] : [{ sha, readsOnly: plan.readsOnly }];
  });
  await scripts.settle(named.map(({ sha }) => sha));
  const needed = named.filter(({ sha, readsOnly }) => readsOnly || scripts.readsOnly(sha) === true);
  const learnt = await scripts.learn([...new Set(needed.map(({ sha }) => sha))]);
  return learnt.ok ? null : failed(learnt.problem);
}

function callOf({ command, plan }: PlannedCommand): ScriptCall | null {
  if (plan.kind !== 'script') return null;
  const [name = '', given = ''] = command;
  return { command, plan, sha: /^EVALSHA/i.test(name) ? digestFrom(given) : null };
}

/** `script` is null where it is not known here. */
function planOfCall(
  { scripts, place, dependencies }: UpstashRun,
  { command, sha, plan }: ScriptCall,
  script: UserScript | null,
): UpstashPlan {
  const { readsOnly, mayBeKept } = plan;
  if (sha !== null && !readsOnly) scripts.learnLater(sha, place.background);
  if (!readsOnly && script?.readsOnly !== true) return { kind: 'write' };
  const isAsked = /_RO$/i.test(command[0] ?? '');
  // Who did not ask for a read need not have promised one.
  const asRead =
    isAsked || script === null ? script : { ...script, counted: promised(script.counted) };
  const compiled = compileReads([asReadOnly(command)], bookOf(asRead));
  if (!compiled.ok) return refusalOf(compiled);
  const [read] = compiled.commands;
  if (read === undefined) return { kind: 'write' };
  const context = { now: dependencies.now(), seed: () => 0, scripts: bookOf(script) };
  const mayBeFrame = mayBeKept && compileWrite([command], [], context).ok;
  const mayWrite = !readsOnly && mayBeFrame;
  const brings = sha === null && script !== null && mayBeKept ? { brings: script } : {};
  return { kind: 'read', command: read, keys: compiled.keys, mayBeFrame, mayWrite, ...brings };
}

/** Knows one script, or none. */
function bookOf(script: UserScript | null): ScriptLookup {
  return {
    evaluated(text) {
      return script ?? { sha: '', text, counted: text, readsOnly: false, fault: null };
    },
    find: () => script,
  };
}

function refused({ command }: PlannedCommand, why: ReturnType<typeof failed>): PlannedCommand {
  return { command, plan: { kind: 'refused', whenQueued: false, ...why } };
}
