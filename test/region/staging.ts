/** The staging of transactions in the region model. */
import { bytesOf as sizeOfReply } from '../../functions/region/reply-shape.ts';
import { InvariantViolation } from '../../shared/assert.ts';
import { bytesWithin } from '../../shared/commands/raw-bytes.ts';
import type { Bytes } from '../../shared/contracts/bytes.ts';
import type { Check, Operation } from '../../shared/contracts/frame.ts';
import { isGrowing } from '../../shared/contracts/growing.ts';
import { encodeReply } from '../../shared/contracts/reply.ts';
import type { Part, Prepare, Vote } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { everyKey, flushedKey, valuesAmong } from '../../shared/reserved-keys.ts';
import type { SlotRange } from '../../shared/shards/shard-map.ts';
import { slotOf } from '../../shared/shards/slots.ts';
import { type Entry, type Keys, runCommand, typeOf } from './commands.ts';
import { bytesOf, drawMembers, type ModelReply, replyInOrder, sortMembers } from './replies.ts';

/**
 * The effect of a commit on a key: none, deleting all keys, or replacing it by this entry (null: the key is deleted).
 */
export type Intent =
  | { readonly kind: 'keep' }
  /**
   * Deletes every key, or all keys of these slots; the other changes of the transaction come after that.
   */
  | { readonly kind: 'flush'; readonly slots?: readonly SlotRange[] }
  | { readonly kind: 'put'; readonly entry: Entry | null }
  | { readonly kind: 'publish'; readonly messages: readonly Message[] };

/** A message as subscribers get it, in bytes, with its position among those of its transaction. */
export interface Message {
  readonly place: number;
  readonly channel: string;
  readonly text: string;
}

/** A staged transaction: the content of its vote, and the intent of each key, in their order. */
export interface Staged {
  readonly outcomes: readonly Bytes[];
  readonly fingerprints: readonly string[];
  readonly intents: readonly Intent[];
  /** Keys that scripts touch and the transaction does not list; if there are any, nothing is staged. */
  readonly unlisted: Extract<Vote, { kind: 'unlisted' }>['parts'];
  /** The number of its first parts whose replies fit, or null if all do; otherwise nothing is staged. */
  readonly most: number | null;
  /** The bytes of its outcomes. */
  readonly bytes: number;
}

const tooLarge = `ERR the replies of this write are too large: the limit is ${limits.outcomeBytes} bytes; take fewer at once, or read a large value in ranges (GETRANGE) and remove it by DEL`;

const keep: Intent = { kind: 'keep' };

/** Runs a transaction's parts on a staged state of its keys, as stage.lua does. */
export function stage(prepare: Prepare, base: Keys): Staged {
  return new Staging(prepare, base).run();
}

/** A part's end: its outcome, and whether its changes stand. */
interface Ended {
  readonly outcome: readonly ModelReply[];
  readonly stands: boolean;
}

/** A transaction during staging. */
class Staging {
  readonly #prepare: Prepare;
  readonly #base: Keys;
  #left: number = limits.outcomeBytes;
  /** Whether the replies of the current part did not fit. */
  #isCrowded = false;
  readonly #fingerprints = new Map<string, string>();
  /** The staged values of the parts so far; null if a key is deleted. A key that is missing here is as in the base. */
  #staged = new Map<string, Entry | null>();
  #messages: (Message & { readonly key: string })[] = [];
  /** The unlisted keys that a script of the current part touches. */
  #strays: string[] = [];
  readonly #unlisted: { readonly part: number; readonly keys: readonly string[] }[] = [];

  constructor(prepare: Prepare, base: Keys) {
    this.#prepare = prepare;
    this.#base = base;
    for (const key of prepare.keys) this.#fingerprints.set(key, '');
  }

  run(): Staged {
    let most: number | null = null;
    const outcomes = this.#prepare.parts.map((part, position) => {
      const outcome = this.#part(part);
      if (this.#isCrowded && position > 0) most ??= position;
      this.#isCrowded = false;
      if (this.#strays.length > 0) this.#unlisted.push({ part: position, keys: this.#strays });
      this.#strays = [];
      return outcome;
    });
    return {
      outcomes: outcomes.map(encodeReply),
      fingerprints: this.#prepare.keys.map((key) => this.#fingerprints.get(key) ?? ''),
      intents: this.#prepare.keys.map((key) => this.#intent(key)),
      unlisted: this.#unlisted,
      most,
      bytes: limits.outcomeBytes - this.#left,
    };
  }

  #part(part: Part): readonly ModelReply[] {
    const before = new Map(this.#staged);
    const published = this.#messages.length;
    const { outcome, stands } = this.#bounded(this.#attempt(part), part);
    this.#left -= sizeOfReply(outcome);
    if (!stands) {
      this.#staged = before;
      this.#messages.length = published;
    }
    return outcome;
  }

  #bounded(ended: Ended, part: Part): Ended {
    if (sizeOfReply(ended.outcome) <= this.#left) return ended;
    this.#isCrowded = true;
    return { outcome: [2, part.operations.length - 1, tooLarge], stands: false };
  }

  #attempt(part: Part): Ended {
    for (const [index, check] of part.checks.entries()) {
      const found = this.#check(check);
      if (!found.holds) {
        const { actual } = found;
        const shown = typeof actual === 'string' ? actual.slice(0, 1000) : actual;
        return { outcome: [1, index, shown], stands: false };
      }
    }
    const replies: ModelReply[] = [0];
    for (const [index, operation] of part.operations.entries()) {
      const reply = this.#operation(operation);
      if (isError(reply) && !part.continueOnError) {
        return { outcome: [2, index, reply.error], stands: false };
      }
      replies.push(replyInOrder(reply, operation.reply));
    }
    return { outcome: replies, stands: true };
  }

  /** The entry that an operation finds. Staged values do not expire meanwhile, regardless of the region's clock. */
  #entry(key: string): Entry | undefined {
    const staged = this.#staged.get(key);
    if (staged !== undefined) return staged ?? undefined;
    return this.#fingerprint(key) === 'absent' ? undefined : this.#base.get(key);
  }

  #fingerprint(key: string): string {
    const known = this.#fingerprints.get(key);
    if (known === undefined) throw new InvariantViolation('operations name listed keys only');
    if (known !== '') return known;
    const expiry = this.#base.get(key)?.expiry;
    const print = fingerprintOf(expiry, this.#prepare.now);
    this.#fingerprints.set(key, print);
    return print;
  }

  #keys(): Keys {
    return {
      clock: this.#prepare.now,
      get: (key) => this.#entry(key),
      names: () => [...this.#base.names()],
      set: (key, entry) => this.#put(key, entry),
    };
  }

  /** Keys that have expired by `now` are deleted in every region alike. */
  #put(key: string, entry: Entry | undefined): void {
    const isGone =
      entry === undefined || (entry.expiry !== -1 && entry.expiry <= this.#prepare.now);
    this.#staged.set(key, isGone ? null : entry);
  }

  #check(check: Check): { readonly holds: boolean; readonly actual: ModelReply } {
    const entry = this.#entry(check.key);
    const type = typeOf(entry);
    switch (check.kind) {
      case 'absent':
        return { holds: type === null, actual: type };
      case 'exists':
        return { holds: type !== null, actual: type };
      case 'type':
        return { holds: type === check.type, actual: type };
      case 'equals': {
        if (type !== null && type !== 'string') return { holds: false, actual: type };
        const actual = runCommand(this.#keys(), ['GET', check.key]);
        return { holds: actual === bytesOf(check.value), actual };
      }
      case 'field': {
        if (type !== null && type !== 'hash') return { holds: false, actual: type };
        const actual = runCommand(this.#keys(), ['HGET', check.key, check.field]);
        return { holds: actual === bytesOf(check.value), actual };
      }
    }
  }

  #operation(operation: Operation): ModelReply {
    switch (operation.kind) {
      case 'set':
        return this.#set(operation.args);
      case 'delete':
        return this.#delete(operation);
      case 'pop':
        return this.#pop(operation);
      case 'ttl':
        return this.#ttl(operation.args);
      case 'publish':
        return this.#publish(operation.args);
      case 'flush':
        for (const key of valuesAmong(this.#prepare.keys)) {
          if (this.#entry(key) !== undefined) this.#staged.set(key, null);
        }
        this.#staged.set(flushedKey, null);
        return { status: 'OK' };
      case 'script':
        return this.#script(operation.args);
      case 'fail':
        return { error: operation.args[0] ?? '' };
      default: {
        // Every named key is read, even if the command fails before it needs it.
        for (const at of operation.reads) this.#entry(operation.args[at] ?? '');
        for (const at of operation.writes) {
          const key = operation.args[at] ?? '';
          // The commit deletes keys that have expired by `now`, although the region's own clock may keep them a
          // while.
          if (this.#entry(key) === undefined) this.#staged.set(key, null);
        }
        return runCommand(this.#keys(), operation.args);
      }
    }
  }

  #set([key = '', value = '', pxat = '']: readonly string[]): ModelReply {
    const expiry = pxat === '' ? -1 : Number(pxat);
    this.#put(key, { value: { type: 'string', text: bytesOf(value) }, expiry });
    return { status: 'OK' };
  }

  /** Here the text of a script is a list of commands, as JSON; `KEYS` returns the keys without an expiry. */
  #script([, text = '']: readonly string[]): ModelReply {
    const commands: readonly (readonly string[])[] = JSON.parse(text);
    return commands.map((command): ModelReply => {
      const [name, key = ''] = command;
      const touched = name === 'KEYS' ? everyKey : key;
      if (!this.#fingerprints.has(touched)) {
        this.#fingerprints.set(touched, '');
        this.#strays.push(touched);
      }
      return name === 'KEYS' ? this.#lasting() : runCommand(this.#keys(), command);
    });
  }

  #lasting(): readonly string[] {
    const keys = new Set([...this.#base.names(), ...this.#staged.keys()]);
    return [...keys].filter((key) => this.#seen(key)?.expiry === -1).sort();
  }

  /** Without recording a read: an operation on all keys needs no more than their lock. */
  #seen(key: string): Entry | null | undefined {
    const staged = this.#staged.get(key);
    return staged === undefined ? this.#base.get(key) : staged;
  }

  #delete(operation: Operation): ModelReply {
    let count = 0;
    for (const at of operation.writes) {
      const key = operation.args[at] ?? '';
      if (this.#entry(key) === undefined) continue;
      this.#staged.set(key, null);
      count += 1;
    }
    return count;
  }

  #pop({ args: [key = '', countText = ''], seed }: Operation): ModelReply {
    if (!/^\d*$/.test(countText)) {
      return { error: 'ERR value is out of range, must be positive' };
    }
    const members = runCommand(this.#keys(), ['SMEMBERS', key]);
    if (isError(members)) return members;
    const sorted = sortMembers(members);
    const count = countText === '' ? 1 : Number(countText);
    const drawn = drawMembers(Array.isArray(sorted) ? sorted.map(String) : [], count, seed ?? 0);
    this.#removeMembers(key, drawn);
    return countText === '' ? (drawn[0] ?? null) : drawn;
  }

  /** The members are bytes already, so they do not go through a command. */
  #removeMembers(key: string, drawn: readonly string[]): void {
    const entry = this.#entry(key);
    if (entry?.value.type !== 'set' || drawn.length === 0) return;
    const members = new Set(entry.value.members);
    for (const member of drawn) members.delete(member);
    const left: Entry = { value: { type: 'set', members }, expiry: entry.expiry };
    this.#staged.set(key, members.size === 0 ? null : left);
  }

  #ttl([name = '', key = '']: readonly string[]): ModelReply {
    const entry = this.#entry(key);
    if (entry === undefined) return -2;
    if (entry.expiry === -1) return -1;
    const ms = name.endsWith('TTL') ? entry.expiry - this.#prepare.now : entry.expiry;
    return name.startsWith('P') ? ms : Math.floor((ms + 500) / 1000);
  }

  #publish([key = '', channel = '', text = '']: readonly string[]): ModelReply {
    const place = this.#messages.length + 1;
    this.#messages.push({ key, place, channel: bytesWithin(channel), text: bytesWithin(text) });
    return 0;
  }

  #intent(key: string): Intent {
    const messages = this.#messages.filter((message) => message.key === key);
    if (messages.length > 0) return { kind: 'publish', messages };
    const entry = this.#staged.get(key);
    if (key === flushedKey && entry !== undefined) return { kind: 'flush' };
    return entry === undefined ? keep : { kind: 'put', entry };
  }
}

function fingerprintOf(expiry: number | undefined, now: number): string {
  if (expiry === undefined) return 'absent';
  if (expiry === -1) return 'persistent';
  return expiry <= now ? 'absent' : String(expiry);
}

function isError(reply: ModelReply): reply is { readonly error: string } {
  return typeof reply === 'object' && reply !== null && 'error' in reply;
}

/** True if the prepare may take memory: nobody knows the commands of a script before it runs. */
export function mayTakeMemory({ parts }: Pick<Prepare, 'parts'>): boolean {
  return parts.some(({ operations }) =>
    operations.some((operation) => operation.kind === 'script' || isGrowing(operation)),
  );
}

/** True if the slot of the key is in one of the ranges. */
export function isWithin(slots: readonly SlotRange[], key: string): boolean {
  const slot = slotOf(key).number;
  return slots.some(([first, last]) => first <= slot && slot <= last);
}
