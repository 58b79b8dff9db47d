import { utf8Length } from '../../../shared/commands/keys.ts';
import {
  type ScriptLookup,
  scriptOf,
  type UserScript,
} from '../../../shared/commands/user-scripts.ts';
import { type Result, success } from '../../../shared/http/problems.ts';
import { limits } from '../../../shared/limits.ts';
import { sha1Of } from '../../platform/sha1.ts';
import { askScripts } from '../http/coordinator-calls.ts';
import { type EdgeDependencies, onlyShard } from '../http/dependencies.ts';
import type { Background } from './region-directory.ts';

interface RememberedScript {
  readonly script: UserScript;
  readonly bytes: number;
  /** Until then the coordinator is taken to know it, ms. */
  readonly knownUntil: number;
  /** False until the coordinator has said that it keeps it. */
  readonly isTold: boolean;
}

/**
 * The scripts that an isolate remembers, so that read-only ones need not ask the coordinator for their texts. A text never
 * changes under its digest; only whether it is known does, and that is asked for anew from time to time.
 */
export class EdgeScripts {
  readonly #dependencies: EdgeDependencies;
  /** Those that were told or asked for last come last; what is used is asked for again and again. */
  readonly #scripts = new Map<string, RememberedScript>();
  readonly #beingAskedFor = new Set<string>();
  #bytes = 0;

  constructor(dependencies: EdgeDependencies) {
    this.#dependencies = dependencies;
  }

  /** For compiling reads: what is remembered and still taken to be known. */
  readonly book: ScriptLookup = {
    evaluated: (text) => this.read(text),
    find: (sha) => this.find(sha),
  };

  /** The script of a text. */
  read(text: string): UserScript {
    const sha = sha1Of(text);
    return this.#scripts.get(sha)?.script ?? scriptOf(text, sha);
  }

  /** The script of a digest, or null where it is not remembered or was not known lately. */
  find(sha: string): UserScript | null {
    const known = this.#scripts.get(sha);
    return known !== undefined && known.knownUntil > this.#dependencies.now() ? known.script : null;
  }

  /** Whether a script changes nothing; null where its text is not remembered. */
  readsOnly(sha: string): boolean | null {
    return this.#scripts.get(sha)?.script.readsOnly ?? null;
  }

  /** Remembers a script that EVAL brought, and tells the coordinator of it beside the request, if it does not know. */
  evaluated(script: UserScript, background: Background): void {
    if (this.find(script.sha) !== null || script.fault !== null) return;
    this.#remember(script, false);
    background(this.#send([script]));
  }

  /** Remembers what the coordinator has said that it keeps. */
  kept(script: UserScript): void {
    this.#remember(script, true);
  }

  /**
   * Makes sure that the coordinator knows what it is being told in the background: who asks it for one of these would
   * otherwise come before that.
   */
  async settle(shas: readonly string[]): Promise<void> {
    const unsent = shas.flatMap((sha) => {
      const known = this.#scripts.get(sha);
      return known?.isTold === false ? [known.script] : [];
    });
    if (unsent.length > 0) await this.#send(unsent);
  }

  /** Asks the coordinator for those that are not known, or not lately. */
  async learn(shas: readonly string[]): Promise<Result<null>> {
    const unknown = shas.filter((sha) => this.find(sha) === null);
    return unknown.length === 0 ? success(null) : this.#ask(unknown);
  }

  /** Asks for one beside the request, where it is not known or will have to be asked for before long. */
  learnLater(sha: string, background: Background): void {
    const { knownUntil = 0, isTold = true } = this.#scripts.get(sha) ?? {};
    const left = knownUntil - this.#dependencies.now();
    if (left > limits.scriptKnownMs / 2 || !isTold || this.#beingAskedFor.has(sha)) return;
    this.#beingAskedFor.add(sha);
    const asking = this.#ask([sha]).then(() => {
      this.#beingAskedFor.delete(sha);
    });
    background(asking);
  }

  forgetAll(): void {
    this.#scripts.clear();
    this.#bytes = 0;
  }

  async #ask(shas: readonly string[]): Promise<Result<null>> {
    const told = await askScripts(this.#dependencies, onlyShard, (scripts) =>
      scripts.scriptTexts(shas),
    );
    if (!told.ok) return told;
    for (const [index, sha] of shas.entries()) {
      const text = told.value[index] ?? null;
      if (text === null) this.#forget(sha);
      else this.kept(scriptOf(text, sha));
    }
    return success(null);
  }

  async #send(scripts: readonly UserScript[]): Promise<void> {
    const texts = scripts.map(({ text }) => text);
    const told = await askScripts(this.#dependencies, onlyShard, (coordinator) =>
      coordinator.keepScripts(texts, false),
    );
    for (const script of scripts) {
      // What it could not be told, it is told with the next EVAL.
      if (told.ok) this.kept(script);
      else this.#forget(script.sha);
    }
  }

  #remember(script: UserScript, isTold: boolean): void {
    this.#forget(script.sha);
    const bytes = utf8Length(script.text) + utf8Length(script.counted);
    const knownUntil = this.#dependencies.now() + limits.scriptKnownMs;
    this.#scripts.set(script.sha, { script, bytes, knownUntil, isTold });
    this.#bytes += bytes;
    for (const sha of this.#scripts.keys()) {
      if (this.#bytes <= limits.scriptBytesRemembered) break;
      this.#forget(sha);
    }
  }

  #forget(sha: string): void {
    this.#bytes -= this.#scripts.get(sha)?.bytes ?? 0;
    this.#scripts.delete(sha);
  }
}
