import { type Problem, problemKinds } from '../../../shared/http/problems.ts';
import type { UpstashPlan } from '../../../shared/upstash/plan.ts';
import type { UpstashCommand } from '../../../shared/upstash/request.ts';
import type { EdgeScripts } from '../cache/script-cache.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import type { ClientKey } from '../http/idempotency.ts';
import type { ReadTarget, RegionReader } from '../reads/region-reader.ts';

/** A command with what becomes of it. */
export interface PlannedCommand {
  readonly command: UpstashCommand;
  readonly plan: UpstashPlan;
}

/** How a request is carried out. */
export interface UpstashRun {
  readonly dependencies: EdgeDependencies;
  readonly reader: RegionReader;
  readonly scripts: EdgeScripts;
  readonly place: ReadTarget;
  /** The idempotency key of the request, or null. */
  readonly key: ClientKey | null;
}

/** The element of a command that could not be carried out. */
export function failed({ name, detail }: Problem): {
  readonly error: string;
  readonly status: number;
} {
  const { status } = problemKinds[name];
  // What this protocol knows of requests at fault is 400; what is Lockstep's own state stays visible as such.
  const code =
    name === 'regions-full' ? "OOM command not allowed when used memory > 'maxmemory'." : 'ERR';
  return { error: `${code} ${detail}`, status: status === 429 || status >= 500 ? status : 400 };
}
