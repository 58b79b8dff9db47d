import { findCommand } from './command-table.ts';

/** What can be told of a script from its text alone. */
export interface LuaText {
  /**
   * The text with a call of `__lockstep` at the beginning of each loop and function, where a region counts them: so an
   * endless script ends. On the same lines as before. It is the text itself where that is no Lua, which the region says.
   */
  readonly counted: string;
  /** True where it changes nothing, whatever its keys and arguments are. False where that cannot be told. */
  readonly readsOnly: boolean;
  /** True where it uses the name by which loops are counted. */
  readonly usesCounter: boolean;
}

/** The name of the function that a region counts by. */
export const counterName = '__lockstep';

const count = ` ${counterName}();`;

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
  /** Where it ends in the whole text. */
  readonly end: number;
}

/** Reads a script's text. */
export function readLua(text: string): LuaText {
  const tokens = tokensOf(text);
  if (tokens === null) return { counted: text, readsOnly: false, usesCounter: false };
  const places = placesToCount(tokens);
  return {
    counted: places === null ? text : insertAt(text, places),
    readsOnly: promisesNoWrites(text) || onlyReads(tokens),
    usesCounter: tokens.some((one) => one.kind === 'name' && one.text === counterName),
  };
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
    if (name !== undefined) tokens.push({ kind: 'name', text: name, end });
    else if (quoted !== undefined) tokens.push({ kind: 'quoted', text: quoted.slice(1, -1), end });
    else if (other !== undefined) tokens.push({ kind: 'other', text: other, end });
    else if (symbol !== undefined) tokens.push({ kind: 'symbol', text: symbol, end });
  }
  return tokens;
}

/** Behind `do`, `repeat` and the parameters of a function; null where a function has no such form. */
function placesToCount(tokens: readonly Token[]): readonly number[] | null {
  const places: number[] = [];
  for (const [at, { kind, text, end }] of tokens.entries()) {
    if (kind !== 'name') continue;
    if (text === 'do' || text === 'repeat') places.push(end);
    if (text !== 'function') continue;
    const closing = endOfHead(tokens, at + 1);
    if (closing === null) return null;
    places.push(closing);
  }
  return places;
}

/** Where the head of a function ends: `name.name:name (name, name, ...)`. */
function endOfHead(tokens: readonly Token[], from: number): number | null {
  let isOpen = false;
  for (let at = from; at < tokens.length; at += 1) {
    const { kind, text = '', end = 0 } = tokens[at] ?? {};
    if (text === '(' && !isOpen) isOpen = true;
    else if (text === ')' && isOpen) return end;
    else if (kind !== 'name' && !/^[.,:]$/.test(text)) return null;
  }
  return null;
}

function insertAt(text: string, places: readonly number[]): string {
  let from = 0;
  const pieces = places.map((place) => {
    const piece = text.slice(from, place);
    from = place;
    return piece + count;
  });
  return pieces.join('') + text.slice(from);
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
