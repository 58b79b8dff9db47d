/** The keys of a torture run. They are replaced after a number of writes, so that journals stay short. */
import type { Random } from '../simulation/random.ts';

/** The writes of a generation of keys. More would make the journals, and so all reads, longer. */
const writesPerGeneration = 250;

const cells = { text: ['t0', 't1', 't2'], account: ['a0', 'a1', 'a2', 'a3'] } as const;
const alone = { count: ['c0', 'c1'], register: ['r0', 'r1'] } as const;

/** Chooses keys. Clients that are late still use those of the generation before. */
export class KeySpace {
  readonly all = new Set<string>();
  #begun = 0;

  /** Counts a write that begins. */
  begin(): void {
    this.#begun += 1;
  }

  text(random: Random): string {
    return this.#keep(`${this.#cell(random.pick(cells.text))}:text`);
  }

  /** The name of a cell with a list, a balance and a last writer. */
  account(random: Random): string {
    const cell = this.#cell(random.pick(cells.account));
    for (const kind of ['list', 'balance', 'last']) this.#keep(`${cell}:${kind}`);
    return cell;
  }

  /** Two different cells. */
  accounts(random: Random): readonly [from: string, to: string] {
    const from = this.account(random);
    for (;;) {
      const to = this.account(random);
      if (to !== from) return [from, to];
    }
  }

  count(random: Random): string {
    return this.#keep(`${this.#cell(random.pick(alone.count))}:count`);
  }

  register(random: Random): string {
    return this.#keep(`${this.#cell(random.pick(alone.register))}:register`);
  }

  /** Keys to read together. A key that follows from a journal comes with it. */
  someToRead(random: Random): readonly string[] {
    const accountKeys = () => {
      const cell = this.account(random);
      return [`${cell}:list`, `${cell}:balance`, `${cell}:last`];
    };
    const ways: readonly (() => readonly string[])[] = [
      () => [this.text(random)],
      () => [this.text(random), this.text(random), this.count(random)],
      () => [this.register(random)],
      () => [this.count(random), this.register(random)],
      accountKeys,
      () => [...accountKeys(), ...accountKeys(), this.text(random)],
      () => [this.text(random), ...accountKeys()],
    ];
    return [...new Set(random.pick(ways)())];
  }

  #cell(name: string): string {
    return `{${Math.floor(this.#begun / writesPerGeneration)}.${name}}`;
  }

  #keep(key: string): string {
    this.all.add(key);
    return key;
  }
}
