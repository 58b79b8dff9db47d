/** The commands of a torture run: the keys that they touch, the names that they append, and a model of their effect. */
import type { Entry, Keys } from '../region/commands.ts';
import { runCommand } from '../region/commands.ts';

/** A Redis command, with its arguments. */
export type SentCommand = readonly string[];

/**
 * The kinds of keys. A name is `{cell}:kind`, and all keys of a cell have one hash tag, so cells fall into different
 * slots. `text` and `list` are journals: their value names every write, in order. A `count` is only incremented by
 * one. A `register` gets a unique value by each write. The others follow from the journal of their cell.
 */
export type KeyKind = 'text' | 'list' | 'count' | 'register' | 'balance' | 'last';

const kinds: readonly string[] = ['text', 'list', 'count', 'register', 'balance', 'last'];

/** The kind of a key of the run. */
export function kindOf(key: string): KeyKind {
  const kind = key.slice(key.lastIndexOf(':') + 1);
  if (!isKind(kind)) throw new Error(`${key} is no key of a torture run`);
  return kind;
}

function isKind(text: string): text is KeyKind {
  return kinds.includes(text);
}

/** True for the keys whose value names its writes. */
export function isJournal(key: string): boolean {
  const kind = kindOf(key);
  return kind === 'text' || kind === 'list';
}

/** The journal that orders the writes of a key that follows from it. */
export function journalOf(key: string): string {
  return `${key.slice(0, key.lastIndexOf(':'))}:list`;
}

/** The names in a journal, in order. */
export function namesIn(text: string | null): readonly string[] {
  return text === null ? [] : text.split(';').slice(0, -1);
}

/** An account may be overdrawn up to this amount, so that it need not be filled first. */
const overdraft = 50;

/** Moves an amount between two cells if the first one has it, and says how much was moved. */
const transferText = `local from, to, amount, name = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local has = tonumber(redis.call('GET', from .. ':balance') or '0') + ${overdraft}
if has < amount then amount = 0 end
local left = redis.call('INCRBY', from .. ':balance', 0 - amount)
redis.call('INCRBY', to .. ':balance', amount)
redis.call('SET', to .. ':last', name)
redis.call('RPUSH', from .. ':list', name)
return {amount, left, redis.call('RPUSH', to .. ':list', name)}`;

/** The command that transfers by a script, with its keys declared or found by the script itself. */
export function transfer(
  [from, to]: readonly [string, string],
  amount: number,
  name: string,
  isDeclared: boolean,
): SentCommand {
  const keys = isDeclared ? transferKeys(from, to) : [];
  return ['EVAL', transferText, String(keys.length), ...keys, from, to, String(amount), name];
}

function transferKeys(from: string, to: string): readonly string[] {
  return [`${from}:balance`, `${from}:list`, `${to}:balance`, `${to}:list`, `${to}:last`];
}

/** The keys that a command writes. */
export function keysWrittenBy(command: SentCommand): readonly string[] {
  const [name = '', key = ''] = command;
  if (name !== 'EVAL') return [key];
  const [from = '', to = ''] = command.slice(-4);
  return transferKeys(from, to);
}

/** Runs a command on the model, and returns its reply as the API presents it. */
export function runOnModel(keys: ModelKeys, command: SentCommand): unknown {
  if (command[0] !== 'EVAL') return presented(runCommand(keys, command));
  const [from = '', to = '', asked = '', name = ''] = command.slice(-4);
  const has = Number(presented(runCommand(keys, ['GET', `${from}:balance`])) ?? 0) + overdraft;
  const amount = has < Number(asked) ? 0 : Number(asked);
  const run = (...words: readonly string[]) => presented(runCommand(keys, words));
  const left = run('INCRBY', `${from}:balance`, String(-amount));
  run('INCRBY', `${to}:balance`, String(amount));
  run('SET', `${to}:last`, name);
  run('RPUSH', `${from}:list`, name);
  return [amount, left, run('RPUSH', `${to}:list`, name)];
}

/** A reply in the JSON of the API. */
function presented(reply: unknown): unknown {
  if (typeof reply === 'bigint') return Number(reply);
  if (typeof reply === 'object' && reply !== null && 'status' in reply) return reply.status;
  return reply;
}

/** The keys of the model: those of a Redis without expiries. */
export class ModelKeys implements Keys {
  readonly clock = 0;
  readonly #entries = new Map<string, Entry>();

  get(key: string): Entry | undefined {
    return this.#entries.get(key);
  }

  names(): readonly string[] {
    return [...this.#entries.keys()];
  }

  set(key: string, entry: Entry | undefined): void {
    if (entry === undefined) this.#entries.delete(key);
    else this.#entries.set(key, entry);
  }

  /** The string of a key, or null. */
  textOf(key: string): string | null {
    const value = this.#entries.get(key)?.value;
    return value?.type === 'string' ? value.text : null;
  }
}
