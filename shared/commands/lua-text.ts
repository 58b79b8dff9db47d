/** Reads the text of a user's script: whether it only reads, and the text with counters that regions run. */
import { counterName, rewriteLua } from './lua-rewrite.ts';
import { findCommand } from './table.ts';

/** The properties of a script that follow from its text alone. */
export interface LuaText {
  /**
   * The text that regions run: with calls of Lockstep's own functions that count its work, on the same lines as before.
   * If the text is not Lua 5.1, the region replies its syntax error or refuses it.
   */
  readonly counted: string;
  /** True if it changes nothing for any keys and arguments; false if the text does not show that. */
  readonly readsOnly: boolean;
  /** True if it uses a name that is reserved for the counters. */
  readonly usesCounter: boolean;
}

/**
 * One token of Lua 5.1: space or a comment, a name or keyword, a quoted string, a long string or a number, or one
 * character. An unfinished comment or string does not match.
 */
const token = new RegExp(
  [
    /(?<skipped>[ \t\v\f\r\n]+|--\[(?<level>=*)\[[\s\S]*?\]\k<level>\]|--(?!\[=*\[)[^\r\n]*)/,
    /(?<name>[A-Za-z_]\w*)/,
    /(?<quoted>"[^"\\\r\n]*(?:\\[\s\S][^"\\\r\n]*)*"|'[^'\\\r\n]*(?:\\[\s\S][^'\\\r\n]*)*')/,
    /(?<other>\[(?<depth>=*)\[[\s\S]*?\]\k<depth>\]|\.?\d[\d.]*(?:[eE][+-]?)?\w*)/,
    /(?<symbol>(?!--)[^"'[]|\[(?!=*\[))/,
  ]
    .map(({ source }) => source)
    .join('|'),
  'y',
);

/** Names that could reach commands without a plain call of `redis`. */
const detours: ReadonlySet<string> = new Set(
  '_G debug dofile getfenv load loadfile loadstring module require server setfenv'.split(' '),
);

/** Members of `redis` that change nothing. */
const harmless: ReadonlySet<string> = new Set(
  'error_reply log LOG_DEBUG LOG_NOTICE LOG_VERBOSE LOG_WARNING sha1hex status_reply'.split(' '),
);

interface Token {
  readonly kind: 'name' | 'quoted' | 'other' | 'symbol';
  readonly text: string;
}

/** Analyses the text of a script. */
export function readLua(text: string): LuaText {
  const tokens = tokensOf(text);
  if (tokens === null) return { counted: unread(text), readsOnly: false, usesCounter: false };
  return {
    counted: counted(text),
    readsOnly: promisesNoWrites(text) || onlyReads(tokens),
    usesCounter: tokens.some((one) => one.kind === 'name' && one.text.startsWith(counterName)),
  };
}

function counted(text: string): string {
  const from = bodyOf(text);
  const rewritten = from === null ? null : rewriteLua(text.slice(from));
  return from === null || rewritten === null ? unread(text) : text.slice(0, from) + rewritten;
}

/** The position of the Lua text: Redis removes a first line `#!lua …`. Null if there is no other line. */
function bodyOf(text: string): number | null {
  if (!text.startsWith('#!')) return 0;
  const end = text.indexOf('\n');
  return end < 0 ? null : end + 1;
}

/** A text that cannot be parsed must not run: the region reports its syntax error, or else refuses it. */
function unread(text: string): string {
  const from = bodyOf(text);
  // Bytecode is refused elsewhere and stays unchanged.
  if (from === null || text.startsWith('\x1b')) return text;
  return `${text.slice(0, from)} ${counterName}_x(); ${text.slice(from)}`;
}

/** True if the first line (`#!lua flags=…`) includes `no-writes`, which the region enforces. */
export function promisesNoWrites(text: string): boolean {
  const [first = '', ...lines] = text.split('\n', 2);
  if (!first.startsWith('#!lua') || lines.length === 0) return false;
  const flags = first.split(/\s+/).filter((word) => word.startsWith('flags='));
  return flags.some((word) => word.slice('flags='.length).split(',').includes('no-writes'));
}

/** True if the first line begins with `#!` but lacks the flag `no-writes`: EVAL_RO refuses such a script. */
export function mayWriteByFlags(text: string): boolean {
  return text.startsWith('#!') && !promisesNoWrites(text);
}

/** Adds the flag `no-writes` to the first line if that begins with `#!`. Faults in that line remain. */
export function promised(text: string): string {
  const end = text.indexOf('\n');
  if (!mayWriteByFlags(text) || end < 0) return text;
  return `${text.slice(0, end)} flags=no-writes${text.slice(end)}`;
}

/** Makes the script return at once, so that it must compile but does nothing. Its line numbers stay. */
export function uncalled(text: string): string {
  const from = text.startsWith('#!') ? text.indexOf('\n') + 1 : 0;
  // Redis refuses a first line without a script.
  if (from === 0 && text.startsWith('#!')) return text;
  return promised(`${text.slice(0, from)}do return 1 end; ${text.slice(from)}`);
}

function tokensOf(text: string): readonly Token[] | null {
  const tokens: Token[] = [];
  // Redis removes a first line that begins with `#!`.
  const from = text.startsWith('#!') ? text.indexOf('\n') : 0;
  if (from < 0) return null;
  token.lastIndex = from;
  while (token.lastIndex < text.length) {
    const { skipped, name, quoted, other, symbol } = token.exec(text)?.groups ?? {};
    const end = token.lastIndex;
    // A failed match of a sticky pattern resets lastIndex to 0.
    if (end === 0) return null;
    if (skipped !== undefined) continue;
    if (name !== undefined) tokens.push({ kind: 'name', text: name });
    else if (quoted !== undefined) tokens.push({ kind: 'quoted', text: quoted.slice(1, -1) });
    else if (other !== undefined) tokens.push({ kind: 'other', text: other });
    else if (symbol !== undefined) tokens.push({ kind: 'symbol', text: symbol });
  }
  return tokens;
}

/** True if every use of `redis` calls a read command by a literal name, or a harmless member. */
function onlyReads(tokens: readonly Token[]): boolean {
  return tokens.every(({ kind, text }, at) => {
    if (kind !== 'name') return true;
    if (detours.has(text)) return false;
    return text !== 'redis' || isHarmless(tokens.slice(at + 1, at + 6));
  });
}

function isHarmless([dot, member, open, command, behind]: readonly Token[]): boolean {
  if (dot?.text !== '.' || dot.kind !== 'symbol' || member?.kind !== 'name') return false;
  if (harmless.has(member.text)) return true;
  if (member.text !== 'call' && member.text !== 'pcall') return false;
  if (open?.kind !== 'symbol' || open.text !== '(' || command?.kind !== 'quoted') return false;
  if (behind?.kind !== 'symbol' || !/^[,)]$/.test(behind.text)) return false;
  return findCommand(command.text)?.class === 'read';
}
