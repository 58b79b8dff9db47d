/** The types that the files of the Upstash dialect share, and the error form of its failures. */
import { type Problem, problemKinds } from '../../../shared/http/problems.ts';
import type { UpstashPlan } from '../../../shared/upstash/plan.ts';
import type { UpstashCommand } from '../../../shared/upstash/request.ts';
import type { EdgeScripts } from '../cache/script-cache.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import type { ClientKey } from '../http/idempotency.ts';
import type { ReadTarget, RegionReader } from '../reads/region-reader.ts';
import type { WriteSender } from '../writes/send-writes.ts';

/** A command with its plan. */
export interface PlannedCommand {
  readonly command: UpstashCommand;
  readonly plan: UpstashPlan;
}

/** The context in which a request is executed. */
export interface UpstashRun {
  readonly dependencies: EdgeDependencies;
  readonly reader: RegionReader;
  readonly scripts: EdgeScripts;
  readonly sender: WriteSender;
  readonly target: ReadTarget;
  /** The idempotency key of the request, or null without one. */
  readonly key: ClientKey | null;
}

/** The element of a command that failed with a problem. */
export function failed({ name, detail }: Problem): {
  readonly error: string;
  readonly status: number;
} {
  const { status } = problemKinds[name];
  // Faults of the request are 400, the only such status of this protocol. The statuses of Lockstep's own state stay.
  const code =
    name === 'regions-full' ? "OOM command not allowed when used memory > 'maxmemory'." : 'ERR';
  return { error: `${code} ${detail}`, status: status === 429 || status >= 500 ? status : 400 };
}
