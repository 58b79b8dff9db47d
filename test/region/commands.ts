/** The commands of the region model. */
import { InvariantViolation } from '../../shared/assert.ts';
import type { RedisType } from '../../shared/contracts/frame.ts';
import { bytesOf, type ModelReply } from './replies.ts';

/** A typed value. It is never changed in place, so that a copy of a region is a copy of its map. */
export type Value =
  | { readonly type: 'string'; readonly text: string }
  | { readonly type: 'hash'; readonly fields: ReadonlyMap<string, string> }
  | { readonly type: 'set'; readonly members: ReadonlySet<string> }
  | { readonly type: 'zset'; readonly scores: ReadonlyMap<string, number> }
  | { readonly type: 'list'; readonly items: readonly string[] };

/** A value and its expiry in ms, or -1. */
export interface Entry {
  readonly value: Value;
  readonly expiry: number;
}

/** The keys that a command runs on. `get` does not check expiries. */
export interface Keys {
  readonly clock: number;
  get(key: string): Entry | undefined;
  /** The names of all stored keys, expired or not. */
  names(): readonly string[];
  set(key: string, entry: Entry | undefined): void;
}

/** As in Redis: at its expiry a key still exists, and a millisecond later it does not. */
export function hasExpired(entry: Entry, clock: number): boolean {
  return entry.expiry !== -1 && entry.expiry < clock;
}

type Command = (keys: Keys, key: string, args: readonly string[]) => ModelReply;

const ok: ModelReply = { status: 'OK' };
const wrongType: ModelReply = {
  error: 'WRONGTYPE Operation against a key holding the wrong kind of value',
};
const notInteger: ModelReply = { error: 'ERR value is not an integer or out of range' };
const syntaxError: ModelReply = { error: 'ERR syntax error' };

/** Runs a command of the model's small table. `args` begins with the name; throws for any other command. */
export function runCommand(keys: Keys, args: readonly string[]): ModelReply {
  const [name = '', key = '', ...rest] = args;
  // These take a second key, and keys are text.
  if (name.toUpperCase() === 'RENAME') return rename(keys, key, rest[0] ?? '');
  if (name.toUpperCase() === 'COPY') return copy(keys, key, rest[0] ?? '');
  const command = commands.get(name.toUpperCase());
  if (command === undefined) throw new InvariantViolation(`the model knows no ${name}`);
  return command(keys, key, rest.map(bytesOf));
}

/** The value's type as TYPE returns it, or null. */
export function typeOf(entry: Entry | undefined): RedisType | null {
  return entry?.value.type ?? null;
}

type Of<Type extends Value['type']> = Extract<Value, { readonly type: Type }>;

/** The value if it has the wanted type, null if the key is absent, or false if it has another type. */
function valueAs<Type extends Value['type']>(
  entry: Entry | undefined,
  type: Type,
): Of<Type> | null | false {
  if (entry === undefined) return null;
  const value = entry.value;
  return isOf(value, type) ? value : false;
}

function isOf<Type extends Value['type']>(value: Value, type: Type): value is Of<Type> {
  return value.type === type;
}

/** Writes a changed value under its old expiry; an empty collection is an absent key. */
function update(keys: Keys, key: string, value: Value, isEmpty = false): void {
  keys.set(key, isEmpty ? undefined : { value, expiry: keys.get(key)?.expiry ?? -1 });
}

function integerOf(text: string): bigint | null {
  if (!/^(0|-?[1-9]\d{0,18})$/.test(text)) return null;
  const value = BigInt(text);
  return value === BigInt.asIntN(64, value) ? value : null;
}

function increment(keys: Keys, key: string, by: string): ModelReply {
  const old = valueAs(keys.get(key), 'string');
  const step = integerOf(by);
  if (step === null) return notInteger;
  if (old === false) return wrongType;
  const base = integerOf(old?.text ?? '0');
  if (base === null) return notInteger;
  const sum = base + step;
  if (sum !== BigInt.asIntN(64, sum)) {
    return { error: 'ERR increment or decrement would overflow' };
  }
  update(keys, key, { type: 'string', text: String(sum) });
  return sum;
}

function set(keys: Keys, key: string, [text = '', ...options]: readonly string[]): ModelReply {
  const old = keys.get(key);
  let expiry = -1;
  const flags = new Set<string>();
  for (let index = 0; index < options.length; index += 1) {
    const option = (options[index] ?? '').toUpperCase();
    if (option === 'PXAT') {
      index += 1;
      expiry = Number(options[index]);
    } else if (option === 'KEEPTTL') {
      expiry = old?.expiry ?? -1;
    } else if (option === 'NX' || option === 'XX' || option === 'GET') {
      flags.add(option);
    } else {
      return syntaxError;
    }
  }
  const given = valueAs(old, 'string');
  if (flags.has('GET') && given === false) return wrongType;
  const isRefused = flags.has(old === undefined ? 'XX' : 'NX');
  if (!isRefused) keys.set(key, { value: { type: 'string', text }, expiry });
  if (flags.has('GET')) return given === false ? wrongType : (given?.text ?? null);
  return isRefused ? null : ok;
}

function append(keys: Keys, key: string, [more = '']: readonly string[]): ModelReply {
  const old = valueAs(keys.get(key), 'string');
  if (old === false) return wrongType;
  const text = (old?.text ?? '') + more;
  update(keys, key, { type: 'string', text });
  return text.length;
}

function setFields(keys: Keys, key: string, pairs: readonly string[]): ModelReply {
  const old = valueAs(keys.get(key), 'hash');
  if (old === false) return wrongType;
  const fields = new Map(old?.fields);
  const before = fields.size;
  for (let index = 0; index + 1 < pairs.length; index += 2) {
    fields.set(pairs[index] ?? '', pairs[index + 1] ?? '');
  }
  update(keys, key, { type: 'hash', fields });
  return fields.size - before;
}

function incrementField(
  keys: Keys,
  key: string,
  [field = '', by = '']: readonly string[],
): ModelReply {
  const old = valueAs(keys.get(key), 'hash');
  const step = integerOf(by);
  if (step === null) return notInteger;
  if (old === false) return wrongType;
  const base = integerOf(old?.fields.get(field) ?? '0');
  if (base === null) return { error: 'ERR hash value is not an integer' };
  const fields = new Map(old?.fields).set(field, String(base + step));
  update(keys, key, { type: 'hash', fields });
  return base + step;
}

function addMembers(keys: Keys, key: string, added: readonly string[]): ModelReply {
  const old = valueAs(keys.get(key), 'set');
  if (old === false) return wrongType;
  const members = new Set([...(old?.members ?? []), ...added]);
  update(keys, key, { type: 'set', members });
  return members.size - (old?.members.size ?? 0);
}

function removeMembers(keys: Keys, key: string, removed: readonly string[]): ModelReply {
  const old = valueAs(keys.get(key), 'set');
  if (old === false) return wrongType;
  if (old === null) return 0;
  const members = new Set(old.members);
  for (const member of removed) members.delete(member);
  update(keys, key, { type: 'set', members }, members.size === 0);
  return old.members.size - members.size;
}

function push(side: 'left' | 'right'): Command {
  return (keys, key, added) => {
    const old = valueAs(keys.get(key), 'list');
    if (old === false) return wrongType;
    const given = old?.items ?? [];
    const items = side === 'left' ? [...added.toReversed(), ...given] : [...given, ...added];
    update(keys, key, { type: 'list', items });
    return items.length;
  };
}

function range(keys: Keys, key: string, [first = '', last = '']: readonly string[]): ModelReply {
  const list = valueAs(keys.get(key), 'list');
  if (integerOf(first) === null || integerOf(last) === null) return notInteger;
  if (list === false) return wrongType;
  const items = list?.items ?? [];
  const from = Number(first) < 0 ? Math.max(0, items.length + Number(first)) : Number(first);
  const to = Number(last) < 0 ? items.length + Number(last) : Number(last);
  return items.slice(from, to + 1);
}

function addScores(keys: Keys, key: string, pairs: readonly string[]): ModelReply {
  const old = valueAs(keys.get(key), 'zset');
  const scores = new Map(old === false ? [] : old?.scores);
  const before = scores.size;
  for (let index = 0; index + 1 < pairs.length; index += 2) {
    const score = Number(pairs[index]);
    if (Number.isNaN(score)) return { error: 'ERR value is not a valid float' };
    scores.set(pairs[index + 1] ?? '', score);
  }
  if (old === false) return wrongType;
  update(keys, key, { type: 'zset', scores });
  return scores.size - before;
}

function score(keys: Keys, key: string, [member = '']: readonly string[]): ModelReply {
  const sorted = valueAs(keys.get(key), 'zset');
  if (sorted === false) return wrongType;
  const found = sorted?.scores.get(member);
  return found === undefined ? null : String(found);
}

function expireAt(
  keys: Keys,
  key: string,
  [at = '', ...conditions]: readonly string[],
): ModelReply {
  const entry = keys.get(key);
  if (integerOf(at) === null) return notInteger;
  if (entry === undefined || !conditions.every((one) => allows(one, entry.expiry, Number(at)))) {
    return 0;
  }
  keys.set(key, Number(at) <= keys.clock ? undefined : { ...entry, expiry: Number(at) });
  return 1;
}

/** A condition of EXPIRE. Redis counts a key without an expiry as one that expires last. */
function allows(condition: string, present: number, next: number): boolean {
  if (condition === 'NX') return present === -1;
  if (condition === 'XX') return present !== -1;
  if (condition === 'GT') return present !== -1 && next > present;
  return present === -1 || next < present;
}

function getAndExpire(
  keys: Keys,
  key: string,
  [option = '', at = '']: readonly string[],
): ModelReply {
  const value = get(keys, key);
  const isText = typeof value === 'string';
  if (isText && option === 'PERSIST') persist(keys, key);
  if (isText && option === 'PXAT') expireAt(keys, key, [at]);
  return value;
}

function persist(keys: Keys, key: string): ModelReply {
  const entry = keys.get(key);
  if (entry === undefined || entry.expiry === -1) return 0;
  keys.set(key, { ...entry, expiry: -1 });
  return 1;
}

function rename(keys: Keys, key: string, to: string): ModelReply {
  const entry = keys.get(key);
  if (entry === undefined) return { error: 'ERR no such key' };
  keys.set(key, undefined);
  keys.set(to, entry);
  return ok;
}

function copy(keys: Keys, key: string, to: string): ModelReply {
  const entry = keys.get(key);
  if (entry === undefined || keys.get(to) !== undefined) return 0;
  keys.set(to, entry);
  return 1;
}

function get(keys: Keys, key: string): ModelReply {
  const value = valueAs(keys.get(key), 'string');
  return value === false ? wrongType : (value?.text ?? null);
}

function field(keys: Keys, key: string, [name = '']: readonly string[]): ModelReply {
  const value = valueAs(keys.get(key), 'hash');
  return value === false ? wrongType : (value?.fields.get(name) ?? null);
}

function allFields(keys: Keys, key: string): ModelReply {
  const value = valueAs(keys.get(key), 'hash');
  return value === false ? wrongType : [...(value?.fields ?? [])].flat();
}

function allMembers(keys: Keys, key: string): ModelReply {
  const value = valueAs(keys.get(key), 'set');
  return value === false ? wrongType : [...(value?.members ?? [])];
}

function remove(keys: Keys, key: string): ModelReply {
  const wasThere = keys.get(key) !== undefined;
  keys.set(key, undefined);
  return Number(wasThere);
}

/** A map rather than an object, since a command's name comes from outside. */
const commands: ReadonlyMap<string, Command> = new Map<string, Command>([
  ['GET', get],
  ['SET', set],
  ['DEL', remove],
  ['INCR', (keys, key) => increment(keys, key, '1')],
  ['INCRBY', (keys, key, [by = '']) => increment(keys, key, by)],
  ['APPEND', append],
  ['HSET', setFields],
  ['HINCRBY', incrementField],
  ['HGET', field],
  ['HGETALL', allFields],
  ['SADD', addMembers],
  ['SREM', removeMembers],
  ['SMEMBERS', allMembers],
  ['LPUSH', push('left')],
  ['RPUSH', push('right')],
  ['LRANGE', range],
  ['ZADD', addScores],
  ['ZSCORE', score],
  ['PEXPIREAT', expireAt],
  ['PERSIST', persist],
  ['GETEX', getAndExpire],
  ['EXISTS', (keys, key) => Number(keys.get(key) !== undefined)],
  ['TYPE', (keys, key) => ({ status: typeOf(keys.get(key)) ?? 'none' })],
]);
