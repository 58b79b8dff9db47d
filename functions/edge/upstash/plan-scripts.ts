/** Plans users' scripts: as reads if they only read, otherwise as writes. */
import { compileReads, isReadOfWrites } from '../../../shared/commands/compile.ts';
import { promised } from '../../../shared/commands/lua-text.ts';
import {
  digestFrom,
  type ScriptLookup,
  type UserScript,
} from '../../../shared/commands/user-scripts.ts';
import { asReadOnly, refusalOf, type UpstashPlan } from '../../../shared/upstash/plan.ts';
import type { UpstashCommand } from '../../../shared/upstash/request.ts';
import { failed, type PlannedCommand, type UpstashRun } from './request.ts';

/** The call of a script. `sha` is null if the command has the text instead of the digest. */
interface ScriptCall {
  readonly command: UpstashCommand;
  readonly plan: Extract<UpstashPlan, { kind: 'script' }>;
  readonly sha: string | null;
}

/**
 * Plans each script as a read if its text or its command shows that it only reads, otherwise as a write. A script with
 * an unknown text is planned as a write, for which the coordinator has the text, unless its command demands a read.
 */
export async function planScripts(
  run: UpstashRun,
  planned: readonly PlannedCommand[],
): Promise<readonly PlannedCommand[]> {
  const failure = await fetchTexts(run, planned);
  /** The scripts of earlier EVALs, which later EVALSHAs of the request may name. */
  const brought = new Map<string, UserScript>();
  return planned.map((one) => {
    const call = callOf(one);
    if (call === null) return one;
    const { command, plan, sha } = call;
    const script = sha === null ? plan.script : run.scripts.find(sha);
    if (script !== null && plan.mayBeKept) brought.set(script.sha, script);
    const known = script ?? brought.get(sha ?? '') ?? null;
    // A read by digest needs the text here; for a write, the coordinator finds it.
    if (failure !== null && known === null && plan.readsOnly) return refused(one, failure);
    return { command, plan: planOfCall(run, call, known) };
  });
}

/** Fetches the texts that reads need. Returns the failure, or null. */
async function fetchTexts(
  { scripts }: UpstashRun,
  planned: readonly PlannedCommand[],
): Promise<ReturnType<typeof failed> | null> {
  const named = planned.flatMap((one) => {
    const { sha = null, plan } = callOf(one) ?? {};
    return sha === null || plan === undefined ? [] : [{ sha, readsOnly: plan.readsOnly }];
  });
  await scripts.confirm(named.map(({ sha }) => sha));
  const needed = named.filter(({ sha, readsOnly }) => readsOnly || scripts.readsOnly(sha) === true);
  const fetched = await scripts.fetchMissing([...new Set(needed.map(({ sha }) => sha))]);
  return fetched.ok ? null : failed(fetched.problem);
}

function callOf({ command, plan }: PlannedCommand): ScriptCall | null {
  if (plan.kind !== 'script') return null;
  const [name = '', given = ''] = command;
  return { command, plan, sha: /^EVALSHA/i.test(name) ? digestFrom(given) : null };
}

/** Plans one call. `script` is null if its text is unknown here. */
function planOfCall(
  { scripts, target, dependencies }: UpstashRun,
  { command, sha, plan }: ScriptCall,
  script: UserScript | null,
): UpstashPlan {
  const { readsOnly, mayBeKept } = plan;
  if (sha !== null && !readsOnly) scripts.fetchLater(sha, target.background);
  if (!readsOnly && script?.readsOnly !== true) return { kind: 'write' };
  const isAsked = /_RO$/i.test(command[0] ?? '');
  // A script whose text shows that it only reads need not declare it by `flags=no-writes`.
  const asRead =
    isAsked || script === null ? script : { ...script, counted: promised(script.counted) };
  const compiled = compileReads([asReadOnly(command)], bookOf(asRead));
  if (!compiled.ok) return refusalOf(compiled);
  const [read] = compiled.commands;
  if (read === undefined) return { kind: 'write' };
  const { keys } = compiled;
  const mayBeFrame = mayBeKept && isReadOfWrites(command, keys, dependencies.now(), bookOf(script));
  const mayWrite = !readsOnly && mayBeFrame;
  const brings = sha === null && script !== null && mayBeKept ? { brings: script } : {};
  return { kind: 'read', command: read, keys, mayBeFrame, mayWrite, ...brings };
}

/** A lookup that finds one script, or none. */
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
