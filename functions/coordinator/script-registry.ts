import {
  type ScriptLookup,
  saysNoScript,
  scriptOf,
  type UserScript,
} from '../../shared/commands/user-scripts.ts';
import type {
  CoordinatorApi,
  WriteAnswer,
  WriteRequest,
} from '../../shared/contracts/coordinator.ts';
import { isTagged } from '../../shared/contracts/reply.ts';
import { rawOutcomeOf } from '../../shared/upstash/replies.ts';
import { sha1Of } from '../platform/sha1.ts';
import type { ScriptStorage } from './storage/script-storage.ts';

/** Users' scripts as writes bring and use them, and as the edge asks for them. */
export class ScriptRegistry implements ScriptLookup {
  readonly #scripts: ScriptStorage;
  readonly #prove: () => void;

  /** `prove` writes to the storage, so that no instance answers whose time is over. */
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

  /** Drops what a write brought by EVAL where a region found that it is no script: Redis keeps no such text. */
  judge({ ops }: WriteRequest, answer: WriteAnswer): void {
    if (answer.kind === 'refused' && answer.error !== undefined) this.#prove();
    if (answer.kind !== 'decided' && answer.kind !== 'unconfirmed') return;
    const outcome = /compiling|shebang/.test(answer.record.part)
      ? rawOutcomeOf(answer.record.part)
      : null;
    if (outcome === null) return;
    for (const [index, [name = '', text = '']] of ops.entries()) {
      if (name.toUpperCase() !== 'EVAL') continue;
      const reply = outcome.kind === 'done' ? (outcome.replies[index] ?? null) : null;
      const failed = outcome.kind === 'failed' && outcome.index === index ? outcome.error : '';
      const found = isTagged(reply) && 'error' in reply ? reply.error : failed;
      if (saysNoScript(found)) this.#scripts.drop(sha1Of(text));
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
