/** Makes histories without a fault, as several shards and regions would give them, for tests of the checker. */
import { Random } from '../simulation/random.ts';
import {
  isJournal,
  keysWrittenBy,
  kindOf,
  ModelKeys,
  runOnModel,
  type SentCommand,
} from './commands.ts';
import type {
  FollowedChange,
  KeyText,
  TortureHistory,
  TortureRead,
  TortureWrite,
} from './history.ts';
import { KeySpace } from './keys.ts';
import { drawCommands } from './workload.ts';

/** The regions of these histories. */
export const regions = ['here', 'there'] as const;

/** A history that can be changed, to plant a fault. */
export type Draft = {
  -readonly [Name in keyof TortureHistory]: TortureHistory[Name] extends readonly (infer Item)[]
    ? Item[]
    : TortureHistory[Name];
};

/** A run of a perfect store: each operation takes effect at one moment between its start and its end. */
export class GoodHistory {
  readonly #random: Random;
  readonly #keys = new KeySpace();
  readonly #model = new ModelKeys();
  readonly #texts = new Map<string, KeyText>();
  readonly #writes: TortureWrite[] = [];
  readonly #reads: TortureRead[] = [];
  readonly #changes: FollowedChange[] = [];
  readonly #sequences = new Map<string, number>();
  /** All texts before each of the last writes, as regions that are behind show them. */
  readonly #past: ReadonlyMap<string, KeyText>[] = [];
  #moment = 1_000;

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  make(operations: number): Draft {
    for (let number = 1; number <= operations; number += 1) {
      this.#moment += this.#random.between(1, 10);
      if (this.#random.chance(0.5)) this.#write(`w0.${number}`);
      else this.#read();
    }
    const finals = new Map(
      regions.map((region) => [
        region,
        new Map([...this.#keys.all].map((key) => [key, this.#texts.get(key) ?? null])),
      ]),
    );
    return {
      writes: this.#writes,
      reads: this.#reads,
      followers: [[...this.#changes], [...this.#changes]],
      finals,
      finalAt: this.#moment + 1_000,
      copies: [],
      losses: [],
      complaints: [],
    };
  }

  #write(name: string): void {
    const random = this.#random;
    this.#keys.begin();
    const commands = drawCommands(name, this.#keys, random);
    const text = commands.flatMap(keysWrittenBy).find((key) => kindOf(key) === 'text');
    const present = text === undefined ? null : (this.#texts.get(text) ?? null);
    const isChecked = text !== undefined && present !== null && random.chance(0.3);
    const expected = random.chance(0.5) ? present : 'w0.0;';
    const check = isChecked ? { key: text, equals: String(expected) } : null;
    const times = this.#times();
    const base = { kind: 'write', name, commands, check, isKeyed: random.chance(0.5) } as const;
    const { startedAt } = times;
    const nothing = { receipts: [], actual: null } as const;
    if (check !== null && check.equals !== present) {
      this.#writes.push({ ...base, ...times, outcome: 'rejected', receipts: [], actual: present });
      return;
    }
    const draw = random.next();
    if (draw < 0.05) {
      this.#writes.push({ ...base, ...times, ...nothing, outcome: 'refused' });
      return;
    }
    const unanswered = {
      ...base,
      ...nothing,
      startedAt,
      endedAt: null,
      outcome: 'unknown',
    } as const;
    if (draw < 0.1) {
      this.#writes.push(unanswered);
      return;
    }
    const receipt = this.#carryOut(name, commands);
    if (draw < 0.15) this.#writes.push(unanswered);
    else {
      this.#writes.push({
        ...base,
        ...times,
        outcome: 'committed',
        receipts: [receipt],
        actual: null,
      });
    }
  }

  #carryOut(name: string, commands: readonly SentCommand[]) {
    this.#past.push(new Map(this.#texts));
    const results = commands.map((command) => runOnModel(this.#model, command));
    const keys = [...new Set(commands.flatMap(keysWrittenBy))];
    for (const key of keys) {
      const before = this.#texts.get(key) ?? '';
      this.#texts.set(key, isJournal(key) ? `${before}${name};` : this.#model.textOf(key));
    }
    // A key belongs to one of two shards, whose sequences know nothing of each other.
    const shard = String((keys[0] ?? '').length % 2);
    const sequence = (this.#sequences.get(shard) ?? 0) + 1;
    this.#sequences.set(shard, sequence);
    const counts = commands.flatMap(([command, key = ''], index) =>
      command === 'INCR' ? [[key, Number(results[index])] as const] : [],
    );
    const hasName = commands.some(([command]) => command !== 'INCR');
    const about = { id: `id of ${name}`, transaction: `${shard}.1.${sequence}`, sequence };
    this.#changes.push({ ...about, keys, name: hasName ? name : null, counts });
    return { at: this.#moment, ...about, results };
  }

  #read(): void {
    const random = this.#random;
    const isPlain = random.chance(0.4);
    const source = isPlain && random.chance(0.5) ? this.#past.at(-1) : this.#texts;
    const values = this.#keys
      .someToRead(random)
      .map((key) => [key, source?.get(key) ?? null] as const);
    this.#reads.push({
      kind: 'read',
      consistency: isPlain ? 'plain' : 'strong',
      region: random.pick(regions),
      via: isPlain ? 'redis' : 'lease',
      ...this.#times(),
      values,
    });
  }

  /** Times around the present moment, which overlap those of other operations. */
  #times() {
    const startedAt = this.#moment - this.#random.between(0, 20);
    return { startedAt, endedAt: this.#moment + this.#random.between(0, 20) };
  }
}
