/** Users' scripts: their digests, their lookup, and the reasons why a script cannot run. */
import { utf8Length } from '../contracts/bytes.ts';
import { limits } from '../limits.ts';
import { counterName } from './lua-rewrite.ts';
import { readLua } from './lua-text.ts';

/** The reason why a script cannot run. `detail` is for users. */
export interface ScriptFault {
  readonly problem: 'too-large' | 'unsupported-command';
  readonly detail: string;
}

/** A user's script. */
export interface UserScript {
  /** The SHA-1 of its text, in lower-case hex. */
  readonly sha: string;
  readonly text: string;
  /** The text that regions run, with counters; see LuaText. */
  readonly counted: string;
  /** True if its text shows that it changes nothing. */
  readonly readsOnly: boolean;
  /** The reason why it cannot run, or null. */
  readonly fault: ScriptFault | null;
}

/** Finds scripts for the compiler. */
export interface ScriptLookup {
  /** Returns the script whose text EVAL sent. Afterwards `find` may know its digest. */
  evaluated(text: string): UserScript;
  /** Returns the script of a digest (40 hex digits in lower case), or null. */
  find(sha: string): UserScript | null;
}

/** The error of Redis for an unknown digest. Clients match this text. */
export const unknownScriptError = 'NOSCRIPT No matching script. Please use EVAL.';

/** A class of the errors that a region reports about a script: its text is not Lua, or it writes but may only read. */
export type ScriptErrorKind = 'not-a-script' | 'writes';

/** The errors of Redis for a text that is not a script, which Redis does not store. */
const notAScript =
  /^ERR (?:Error compiling script|Invalid (?:script|engine in script) shebang|Unexpected (?:engine|flag) in script|Unknown lua shebang)/;

/** The error of Redis for a write command in a script that may only read. */
const writesAfterAll = 'ERR Write commands are not allowed from read-only scripts';

/** The kind of a script's error, by its text, since Redis has no codes for these; null for any other error. */
export function scriptErrorKindOf(error: string): ScriptErrorKind | null {
  if (notAScript.test(error)) return 'not-a-script';
  return error.startsWith(writesAfterAll) ? 'writes' : null;
}

/** Returns the script of this text; `sha` must be its digest, or '' if the digest is not needed. */
export function scriptOf(text: string, sha: string): UserScript {
  const { counted, readsOnly, usesCounter } = readLua(text);
  return { sha, text, counted, readsOnly, fault: faultOf(text, counted, usesCounter) };
}

/** The digest in lower case, or null if `text` is not a digest. */
export function digestFrom(text: string): string | null {
  return /^[\da-f]{40}$/i.test(text) ? text.toLowerCase() : null;
}

/** A lookup that knows no digest. */
export const noScripts: ScriptLookup = {
  evaluated: (text) => scriptOf(text, ''),
  find: () => null,
};

/** A lookup that accepts every digest, for code that only checks the form of commands. */
export const anyScript: ScriptLookup = {
  evaluated: noScripts.evaluated,
  find: (sha) => ({ sha, text: '', counted: '', readsOnly: true, fault: null }),
};

function faultOf(text: string, counted: string, usesCounter: boolean): ScriptFault | null {
  const bytes = utf8Length(counted);
  if (bytes > limits.scriptBytes) {
    const detail = `the script has ${bytes} bytes, including the code that counts its steps; the limit is ${limits.scriptBytes}`;
    return { problem: 'too-large', detail };
  }
  // The loops of bytecode could not be counted, and the server would not verify it.
  if (text.startsWith('\x1b')) {
    return {
      problem: 'unsupported-command',
      detail: 'a script is Lua source text, not bytecode',
    };
  }
  if (!usesCounter) return null;
  const detail = `the script uses a name that begins with ${counterName}, which is reserved; use another name`;
  return { problem: 'unsupported-command', detail };
}
