/** Caches the texts of users' scripts. */
import {
  anyScript,
  type ScriptLookup,
  scriptOf,
  type UserScript,
} from '../../../shared/commands/user-scripts.ts';
import { utf8Length } from '../../../shared/contracts/bytes.ts';
import { type Result, success } from '../../../shared/http/problems.ts';
import { limits } from '../../../shared/limits.ts';
import { sha1Of } from '../../platform/sha1.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import { callEach } from '../http/shards.ts';
import type { Background } from './region-directory.ts';

interface RememberedScript {
  readonly script: UserScript;
  readonly bytes: number;
  /** The time, in ms, until which the coordinator is assumed to know the script. */
  readonly knownUntil: number;
  /** False until the coordinator has confirmed that it keeps the script. */
  readonly isConfirmed: boolean;
}

/**
 * The scripts that an isolate remembers, so that reads need not fetch their texts from the coordinator. A text never
 * changes under its digest, but the coordinator may drop it, so the isolate asks again from time to time.
 */
export class EdgeScripts {
  readonly #dependencies: EdgeDependencies;
  /**
   * The least recently stored script is first, and is dropped first; scripts in use are fetched, and so stored,
   * repeatedly.
   */
  readonly #scripts = new Map<string, RememberedScript>();
  readonly #fetching = new Set<string>();
  #bytes = 0;

  constructor(dependencies: EdgeDependencies) {
    this.#dependencies = dependencies;
  }

  /** For compiling reads: the scripts that are remembered and assumed to be known to the coordinator. */
  readonly lookup: ScriptLookup = {
    evaluated: (text) => this.read(text),
    find: (sha) => this.find(sha),
  };

  /** For checking the form of commands: it accepts every digest. */
  readonly forms: ScriptLookup = { ...anyScript, evaluated: this.lookup.evaluated };

  /** The script of a text, analyzed if it is not remembered. */
  read(text: string): UserScript {
    const sha = sha1Of(text);
    return this.#scripts.get(sha)?.script ?? scriptOf(text, sha);
  }

  /** The script of a digest, or null if it is not remembered, or may no longer be known to the coordinator. */
  find(sha: string): UserScript | null {
    const known = this.#scripts.get(sha);
    return known !== undefined && known.knownUntil > this.#dependencies.now() ? known.script : null;
  }

  /** True if a script only reads; null if its text is not remembered. */
  readsOnly(sha: string): boolean | null {
    return this.#scripts.get(sha)?.script.readsOnly ?? null;
  }

  /** Remembers a script that EVAL ran, and sends it to the coordinator in the background if it may not know it. */
  evaluated(script: UserScript, background: Background): void {
    if (this.find(script.sha) !== null || script.fault !== null) return;
    this.#remember(script, false);
    background(this.#send([script]));
  }

  /** Remembers a script that the coordinator has confirmed. */
  confirmed(script: UserScript): void {
    this.#remember(script, true);
  }

  /**
   * Waits until the coordinator has the scripts that are still being sent in the background: a request that names one
   * of them by its digest would otherwise overtake it.
   */
  async confirm(shas: readonly string[]): Promise<void> {
    const unsent = shas.flatMap((sha) => {
      const known = this.#scripts.get(sha);
      return known?.isConfirmed === false ? [known.script] : [];
    });
    if (unsent.length > 0) await this.#send(unsent);
  }

  /** Fetches the scripts that are missing, or may no longer be known, from the coordinator. */
  async fetchMissing(shas: readonly string[]): Promise<Result<null>> {
    const unknown = shas.filter((sha) => this.find(sha) === null);
    return unknown.length === 0 ? success(null) : this.#ask(unknown);
  }

  /** Fetches a script in the background, if it is missing or at least half of its time has passed. */
  fetchLater(sha: string, background: Background): void {
    const { knownUntil = 0, isConfirmed = true } = this.#scripts.get(sha) ?? {};
    const left = knownUntil - this.#dependencies.now();
    if (left > limits.scriptKnownMs / 2 || !isConfirmed || this.#fetching.has(sha)) return;
    this.#fetching.add(sha);
    const fetched = this.#ask([sha]).then(() => {
      this.#fetching.delete(sha);
    });
    background(fetched);
  }

  forgetAll(): void {
    this.#scripts.clear();
    this.#bytes = 0;
  }

  async #ask(shas: readonly string[]): Promise<Result<null>> {
    const answer = await callEach(this.#dependencies, 'scriptTexts', shas);
    if (!answer.ok) return answer;
    for (const [index, sha] of shas.entries()) {
      const texts = answer.value.map((one) => one[index] ?? null);
      // A script that one shard has dropped is sent again, since a write in that shard may name it.
      const text = texts.includes(null) ? null : (texts[0] ?? null);
      if (text === null) this.#forget(sha);
      else this.confirmed(scriptOf(text, sha));
    }
    return success(null);
  }

  async #send(scripts: readonly UserScript[]): Promise<void> {
    const texts = scripts.map(({ text }) => text);
    const kept = await callEach(this.#dependencies, 'keepScripts', texts, false);
    for (const script of scripts) {
      // A script that was not confirmed is sent again by the next EVAL.
      if (kept.ok) this.confirmed(script);
      else this.#forget(script.sha);
    }
  }

  #remember(script: UserScript, isConfirmed: boolean): void {
    this.#forget(script.sha);
    const bytes = utf8Length(script.text) + utf8Length(script.counted);
    const knownUntil = this.#dependencies.now() + limits.scriptKnownMs;
    this.#scripts.set(script.sha, { script, bytes, knownUntil, isConfirmed });
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
