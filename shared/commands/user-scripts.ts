import { limits } from '../limits.ts';
import { utf8Length } from './keys.ts';
import { counterName } from './lua-rewrite.ts';
import { readLua } from './lua-text.ts';

/** A user's script. */
export interface UserScript {
  /** The SHA-1 of its text, in hex, in lower case. */
  readonly sha: string;
  readonly text: string;
  /** As regions run it; see LuaText. */
  readonly counted: string;
  /** True where its text shows that it changes nothing. */
  readonly readsOnly: boolean;
  /** Why it cannot be run, or null. */
  readonly fault: string | null;
}

/** The scripts that whoever compiles a command knows. */
export interface ScriptLookup {
  /** The script that EVAL brings with its command. From then on it may be known by its digest. */
  evaluated(text: string): UserScript;
  /** The script of a digest (40 digits in lower case), or null. */
  find(sha: string): UserScript | null;
}

/** What Redis says of a digest that it does not know; clients look for these words. */
export const unknownScriptError = 'NOSCRIPT No matching script. Please use EVAL.';

/** How Redis begins where a text is no script. It keeps no such text. */
const notAScript =
  /^ERR (?:Error compiling script|Invalid (?:script|engine in script) shebang|Unexpected (?:engine|flag) in script|Unknown lua shebang)/;

/** True where an error says that the text of a script is none. */
export function saysNoScript(error: string): boolean {
  return notAScript.test(error);
}

/** Reads a script of which `sha` is the digest. */
export function scriptOf(text: string, sha: string): UserScript {
  const { counted, readsOnly, usesCounter } = readLua(text);
  return { sha, text, counted, readsOnly, fault: faultOf(text, counted, usesCounter) };
}

/** A digest as it is kept, or null where `text` is none. */
export function digestFrom(text: string): string | null {
  return /^[\da-f]{40}$/i.test(text) ? text.toLowerCase() : null;
}

/** Knows no script by its digest. */
export const noScripts: ScriptLookup = {
  evaluated: (text) => scriptOf(text, ''),
  find: () => null,
};

/** Takes every digest for that of a script: for those who check the form of commands. */
export const anyScript: ScriptLookup = {
  evaluated: noScripts.evaluated,
  find: (sha) => ({ sha, text: '', counted: '', readsOnly: true, fault: null }),
};

function faultOf(text: string, counted: string, usesCounter: boolean): string | null {
  const bytes = utf8Length(counted);
  if (bytes > limits.scriptBytes) {
    return `the script has ${bytes} bytes, including the code that counts its steps; the limit is ${limits.scriptBytes}`;
  }
  // What Lua has compiled is nothing whose loops could be counted, and the server would not check it.
  if (text.startsWith('\x1b')) return 'a script is Lua source text, not bytecode';
  if (usesCounter)
    return `a script uses a name that begins with ${counterName}; those are Lockstep’s own`;
  return null;
}
