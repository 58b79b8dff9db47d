/** Stores the texts of users' scripts. */
import { scriptOf, type UserScript } from '../../../shared/commands/user-scripts.ts';
import { utf8Length } from '../../../shared/contracts/bytes.ts';
import { limits } from '../../../shared/limits.ts';
import type { Sql, SqlObjectStorage } from './sql.ts';

const schema = `
  CREATE TABLE IF NOT EXISTS script (
    sha TEXT PRIMARY KEY, text TEXT NOT NULL, loaded INTEGER NOT NULL, added INTEGER NOT NULL
  ) WITHOUT ROWID;
`;

interface KeptScript {
  readonly text: string;
  /** Null until its first use in this life: analyzing all texts would delay the start. */
  script: UserScript | null;
  /** True if it came by SCRIPT LOAD: it stays until SCRIPT FLUSH. */
  readonly loaded: boolean;
  readonly bytes: number;
}

/**
 * The texts of users' scripts by their digests. Texts from SCRIPT LOAD stay; of those from EVAL, the least recently
 * used is dropped first, as far as this life of the coordinator knows.
 */
export class ScriptStorage {
  readonly #sql: Sql;
  /** The least recently used first. */
  readonly #scripts = new Map<string, KeptScript>();
  #bytes = 0;
  #lastAdded = 0;

  constructor(storage: Pick<SqlObjectStorage, 'sql'>) {
    this.#sql = storage.sql;
  }

  begin(): void {
    this.#sql.exec(schema);
    const rows = this.#sql
      .exec<{ sha: string; text: string; loaded: number; added: number }>(
        'SELECT sha, text, loaded, added FROM script ORDER BY added',
      )
      .toArray();
    for (const { sha, text, loaded, added } of rows) {
      // Texts are stored as JSON, because they may hold bytes that are not valid UTF-8.
      this.#remember(sha, JSON.parse(text), null, loaded === 1);
      this.#lastAdded = added;
    }
  }

  /** The script of a digest, or null. */
  find(sha: string): UserScript | null {
    const kept = this.#use(sha);
    if (kept === null) return null;
    kept.script ??= scriptOf(kept.text, sha);
    return kept.script;
  }

  /** The text of a digest, or null. */
  textOf(sha: string): string | null {
    return this.#use(sha)?.text ?? null;
  }

  /** True if a digest is known. This does not count as a use. */
  has(sha: string): boolean {
    return this.#scripts.has(sha);
  }

  /** Stores a script. `full`: the texts from SCRIPT LOAD leave no room for it. */
  keep(script: UserScript, loaded: boolean): 'kept' | 'full' {
    const known = this.#scripts.get(script.sha);
    if (known !== undefined && (known.loaded || !loaded)) {
      this.#use(script.sha);
      return 'kept';
    }
    if (known === undefined && !this.#makeRoom(utf8Length(script.text))) return 'full';
    this.#forget(script.sha);
    this.#remember(script.sha, script.text, script, loaded);
    this.#lastAdded += 1;
    this.#sql.exec(
      'INSERT OR REPLACE INTO script (sha, text, loaded, added) VALUES (?, ?, ?, ?)',
      script.sha,
      JSON.stringify(script.text),
      loaded ? 1 : 0,
      this.#lastAdded,
    );
    return 'kept';
  }

  /** Drops a text that came by EVAL and is not Lua. */
  drop(sha: string): void {
    if (this.#scripts.get(sha)?.loaded !== false) return;
    this.#forget(sha);
    this.#sql.exec('DELETE FROM script WHERE sha = ?', sha);
  }

  flush(): void {
    this.#scripts.clear();
    this.#bytes = 0;
    this.#sql.exec('DELETE FROM script');
  }

  /** Makes the script the most recently used. */
  #use(sha: string): KeptScript | null {
    const kept = this.#scripts.get(sha);
    if (kept === undefined) return null;
    this.#scripts.delete(sha);
    this.#scripts.set(sha, kept);
    return kept;
  }

  #remember(sha: string, text: string, script: UserScript | null, loaded: boolean): void {
    const bytes = utf8Length(text);
    this.#scripts.set(sha, { text, script, loaded, bytes });
    this.#bytes += bytes;
  }

  #forget(sha: string): void {
    this.#bytes -= this.#scripts.get(sha)?.bytes ?? 0;
    this.#scripts.delete(sha);
  }

  /** Drops texts from EVAL until one more script of `bytes` fits; false if that does not suffice. */
  #makeRoom(bytes: number): boolean {
    const isLoaded = ({ loaded }: KeptScript) => loaded;
    const lasting = [...this.#scripts.values()].filter(isLoaded);
    const lastingBytes = lasting.reduce((sum, one) => sum + one.bytes, 0);
    if (!fits(lasting.length + 1, lastingBytes + bytes)) return false;
    for (const [sha, { loaded }] of this.#scripts) {
      if (fits(this.#scripts.size + 1, this.#bytes + bytes)) break;
      if (!loaded) this.drop(sha);
    }
    return true;
  }
}

function fits(count: number, bytes: number): boolean {
  return count <= limits.scriptsKept && bytes <= limits.scriptBytesKept;
}
