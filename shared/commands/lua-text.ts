import { counterName, rewriteLua } from './lua-rewrite.ts';
import { findCommand } from './table.ts';

/** What can be told of a script from its text alone. */
export interface LuaText {
  /**
   * The text as regions run it: with calls of Lockstep's own names that count what it does, on the same lines as before.
   * A text that is no Lua of version 5.1 is such that a region says so, or refuses it.
   */
  readonly counted: string;
  /** True where it changes nothing, whatever its keys and arguments are. False where that cannot be told. */
  readonly readsOnly: boolean;
  /** True where it uses a name by which what it does is counted. */
  readonly usesCounter: boolean;
}

/**
 * One token of Lua 5.1: what is skipped, a name or keyword, a quoted string, another string or a number, or one character.
 * Nothing matches where a comment or a string has no end.
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

/** What leads to commands by another way than a plain call of `redis`. */
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

/** Reads a script's text. */
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

/** Where the text begins that is Lua: Redis cuts off a first line of flags. Null where there is nothing else. */
function bodyOf(text: string): number | null {
  if (!text.startsWith('#!')) return 0;
  const end = text.indexOf('\n');
  return end < 0 ? null : end + 1;
}

/** A text that cannot be read must not run: a region says what is wrong in it, or else refuses it. */
function unread(text: string): string {
  const from = bodyOf(text);
  // What was compiled is refused before anything is put around it.
  if (from === null || text.startsWith('\x1b')) return text;
  return `${text.slice(0, from)} ${counterName}_x(); ${text.slice(from)}`;
}

/** True where the first line is one of flags, and promises it: a region holds the script to that. */
export function promisesNoWrites(text: string): boolean {
  const [first = '', ...lines] = text.split('\n', 2);
  if (!first.startsWith('#!lua') || lines.length === 0) return false;
  const flags = first.split(/\s+/).filter((word) => word.startsWith('flags='));
  return flags.some((word) => word.slice('flags='.length).split(',').includes('no-writes'));
}

/** True where its first line is one of flags and does not promise to write nothing: it cannot be run by EVAL_RO. */
export function mayWriteByFlags(text: string): boolean {
  return text.startsWith('#!') && !promisesNoWrites(text);
}

/** The text with the promise to write nothing, where it has a first line of flags. What is wrong there still is. */
export function promised(text: string): string {
  const end = text.indexOf('\n');
  if (!mayWriteByFlags(text) || end < 0) return text;
  return `${text.slice(0, end)} flags=no-writes${text.slice(end)}`;
}

/** The text so that it ends before it does anything, but has to be Lua all the same, with its lines as they are. */
export function uncalled(text: string): string {
  const from = text.startsWith('#!') ? text.indexOf('\n') + 1 : 0;
  // A first line alone is refused for what it is.
  if (from === 0 && text.startsWith('#!')) return text;
  return promised(`${text.slice(0, from)}do return 1 end; ${text.slice(from)}`);
}

function tokensOf(text: string): readonly Token[] | null {
  const tokens: Token[] = [];
  // Redis cuts off the first line where it begins so.
  const from = text.startsWith('#!') ? text.indexOf('\n') : 0;
  if (from < 0) return null;
  token.lastIndex = from;
  while (token.lastIndex < text.length) {
    const { skipped, name, quoted, other, symbol } = token.exec(text)?.groups ?? {};
    const end = token.lastIndex;
    // A pattern that fails starts again from 0.
    if (end === 0) return null;
    if (skipped !== undefined) continue;
    if (name !== undefined) tokens.push({ kind: 'name', text: name });
    else if (quoted !== undefined) tokens.push({ kind: 'quoted', text: quoted.slice(1, -1) });
    else if (other !== undefined) tokens.push({ kind: 'other', text: other });
    else if (symbol !== undefined) tokens.push({ kind: 'symbol', text: symbol });
  }
  return tokens;
}

/** Every mention of `redis` is a call of a command that reads, by its name, or of what changes nothing. */
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
