/** Looks up, keeps and drops users' scripts. */
import { rawOutcomeOf } from '../../shared/commands/replies.ts';
import {
  type ScriptLookup,
  scriptErrorKindOf,
  scriptOf,
  type UserScript,
} from '../../shared/commands/user-scripts.ts';
import type { Bytes } from '../../shared/contracts/bytes.ts';
import type {
  CoordinatorApi,
  WriteAnswer,
  WriteRequest,
} from '../../shared/contracts/coordinator.ts';
import type { RawOutcome } from '../../shared/contracts/outcome.ts';
import { isTagged } from '../../shared/contracts/reply.ts';
import { sha1Of } from '../platform/sha1.ts';
import type { ScriptStorage } from './storage/script-storage.ts';

/** Users' scripts, for the compiler of writes and for the edge. */
export class ScriptRegistry implements ScriptLookup {
  readonly #scripts: ScriptStorage;
  readonly #prove: () => void;

  /** `prove` writes to the storage, so that an instance that was replaced cannot answer. */
  constructor(scripts: ScriptStorage, prove: () => void) {
    this.#scripts = scripts;
    this.#prove = prove;
  }

  evaluated(text: string): UserScript {
    const sha = sha1Of(text);
    const script = this.#scripts.find(sha) ?? scriptOf(text, sha);
    if (script.fault === null) this.#scripts.keep(script, false);
    return script;
  }

  find(sha: string): UserScript | null {
    return this.#scripts.find(sha);
  }

  /** Drops a text that a write sent by EVAL, if a region found that it is not a script: Redis keeps no such text. */
  judge({ ops, continueOnError }: WriteRequest, answer: WriteAnswer): void {
    if (answer.kind === 'refused' && answer.error !== undefined) this.#prove();
    if (answer.kind !== 'decided' && answer.kind !== 'unconfirmed') return;
    // Without `continueOnError`, a write that is committed has no error among its replies, which may be large.
    if (answer.record.outcome === 'committed' && !continueOnError) return;
    if (!ops.some(isEval)) return;
    const outcome = rawOutcomeOf(answer.record.part);
    for (const [index, op] of ops.entries()) {
      if (!isEval(op)) continue;
      const error = errorAt(outcome, index);
      if (error !== null && scriptErrorKindOf(error) === 'not-a-script') {
        this.#scripts.drop(sha1Of(op[1] ?? ''));
      }
    }
  }

  keep(
    texts: readonly string[],
    loaded: boolean,
  ): Awaited<ReturnType<CoordinatorApi['keepScripts']>> {
    this.#prove();
    return texts.map((text) => this.#scripts.keep(scriptOf(text, sha1Of(text)), loaded));
  }

  texts(shas: readonly string[]): readonly (string | null)[] {
    this.#prove();
    return shas.map((sha) => this.#scripts.textOf(sha));
  }

  known(shas: readonly string[]): readonly boolean[] {
    this.#prove();
    return shas.map((sha) => this.#scripts.has(sha));
  }

  flush(): void {
    this.#scripts.flush();
    this.#prove();
  }
}

function isEval([name = '']: readonly string[]): boolean {
  return name.toUpperCase() === 'EVAL';
}

/** The error of one operation, in the place of its reply or as the reason of the whole part; null if it has none. */
function errorAt(outcome: RawOutcome, index: number): Bytes | null {
  if (outcome.kind === 'command-failed') return outcome.index === index ? outcome.error : null;
  const reply = outcome.kind === 'done' ? (outcome.replies[index] ?? null) : null;
  return isTagged(reply) && 'error' in reply ? reply.error : null;
}
