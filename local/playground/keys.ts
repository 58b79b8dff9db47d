/** The keys of the playground of `npm start`, and their actions. It does no I/O. */

/** An action on the chosen region. */
export type RegionAction =
  /** Stops it, or starts it if it is stopped. */
  | 'stop-or-start'
  | 'kill'
  | 'restart'
  | 'wipe'
  | 'snapshot'
  | 'roll-back'
  /** From here on, each action is switched off by the same key. */
  | 'slow-down'
  | 'cut-off'
  | 'lose-answers'
  | 'pause';

/** The action of a key. */
export type PlayAction =
  | { readonly kind: 'choose' /** From 0. */; readonly index: number }
  | { readonly kind: 'region'; readonly regionAction: RegionAction }
  | { readonly kind: 'write' }
  | { readonly kind: 'help' }
  | { readonly kind: 'quit' };

interface Key {
  readonly action: PlayAction;
  readonly effect: string;
}

/** The delay that the key `l` adds to a region's requests, in ms. */
export const slowDownMs = 500;

const keys: Readonly<Record<string, Key>> = {
  s: region('stop-or-start', 'stop it, or start it again with its data'),
  k: region('kill', 'kill it (SIGKILL)'),
  r: region('restart', 'restart it'),
  w: region('wipe', 'wipe it: kill it, delete its data, start it empty'),
  b: region('snapshot', 'take a snapshot of its data'),
  o: region('roll-back', 'roll back: kill it, start it on the old snapshot'),
  l: region('slow-down', `slow it down by ${slowDownMs} ms, or stop doing so`),
  c: region('cut-off', 'cut it off: no request arrives; or reconnect it'),
  a: region('lose-answers', 'lose its responses: requests arrive; or reconnect it'),
  p: region('pause', 'pause it (SIGSTOP), or resume it'),
  g: { action: { kind: 'write' }, effect: 'write: increment a counter everywhere' },
  '?': { action: { kind: 'help' }, effect: 'list the keys' },
  q: { action: { kind: 'quit' }, effect: 'quit, as Ctrl-C does' },
};

const escapeCode = '\u001b';
const controlC = '\u0003';

/**
 * The actions of the input from a terminal in raw mode. Ignores unknown keys, and arrow and function keys, which arrive
 * as escape sequences.
 */
export function actionsOf(input: string, regionCount: number): readonly PlayAction[] {
  if (input.startsWith(escapeCode)) return [];
  return [...input].flatMap((key) => actionOf(key, regionCount) ?? []);
}

function actionOf(key: string, regionCount: number): PlayAction | null {
  // In raw mode, Ctrl-C sends no signal.
  if (key === controlC) return { kind: 'quit' };
  const number = /^[1-9]$/.test(key) ? Number(key) : null;
  if (number !== null) {
    return number <= regionCount ? { kind: 'choose', index: number - 1 } : null;
  }
  return Object.hasOwn(keys, key) ? (keys[key]?.action ?? null) : null;
}

/** The list of keys, for users. */
export function keyHelp(regionCount: number): readonly string[] {
  const numbers = regionCount === 1 ? '1' : `1-${regionCount}`;
  return [
    keyLine(numbers, 'choose a region; the next keys act on it'),
    ...Object.entries(keys).map(([key, { effect }]) => keyLine(key, effect)),
  ];
}

function keyLine(key: string, effect: string): string {
  return `  ${key.padEnd(5)}${effect}`;
}

function region(regionAction: RegionAction, effect: string): Key {
  return { action: { kind: 'region', regionAction }, effect };
}
