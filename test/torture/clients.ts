/** The clients of a torture run: writers and strong readers, plain readers of regions, and followers of the feed. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Random } from '../simulation/random.ts';
import {
  type FeedReader,
  type Follow,
  type FollowedStack,
  newReader,
  type SeenChange,
} from '../support/stack/followers.ts';
import type { TestRegion } from '../support/stack/stack.ts';
import { keysWrittenBy, kindOf } from './commands.ts';
import type { FollowedChange, KeyText, TortureWrite, WriteReceipt } from './history.ts';
import type { KeySpace } from './keys.ts';
import { clock, type Recorder } from './recorder.ts';
import {
  attemptWrite,
  readingsOf,
  type SentWrite,
  strongRead,
  type TortureTarget,
  textOfReply,
} from './requests.ts';
import { drawCommands } from './workload.ts';

/** The parts of a run that its clients share. */
export interface Surroundings {
  readonly target: TortureTarget;
  readonly regions: readonly TestRegion[];
  readonly keys: KeySpace;
  readonly recorder: Recorder;
  /** False from the moment at which no client begins anything more. */
  isRunning(): boolean;
}

/** A response that is longer was perhaps cut. */
const actualShown = 1_000;

/** Writes, reads, and repeats its requests. Each write under a key is sent until it is answered. */
export class TortureClient {
  readonly #around: Surroundings;
  readonly #random: Random;
  readonly #number: number;
  #made = 0;
  /** The texts of the last strong read, for checks. */
  readonly #seen = new Map<string, KeyText>();
  /** Answered writes under keys, by their place in the recorder. */
  readonly #answered: { readonly sent: SentWrite; readonly at: number }[] = [];

  constructor(around: Surroundings, random: Random, number: number) {
    this.#around = around;
    this.#random = random;
    this.#number = number;
  }

  /** Resolves when the run is over and everything that was begun under a key has been answered. */
  async run(): Promise<void> {
    while (this.#around.isRunning()) {
      const draw = this.#random.next();
      if (draw < 0.55) await this.#write();
      else if (draw < 0.95) await this.#read();
      else await this.#repeat();
      await delay(this.#random.between(0, 20));
    }
  }

  async #write(): Promise<void> {
    const { keys, recorder, target } = this.#around;
    keys.begin();
    this.#made += 1;
    const name = `w${this.#number}.${this.#made}`;
    const { commands, check } = this.#commandsOf(name);
    const sent: SentWrite = {
      name,
      commands,
      check,
      isKeyed: this.#random.chance(0.6),
      timeoutMs: this.#random.between(300, 4_000),
      priority: this.#random.chance(0.1) ? 1 : 0,
      ack: this.#random.chance(0.1) ? 'confirmed' : 'committed',
    };
    const startedAt = clock();
    for (;;) {
      const attempt = await attemptWrite(target, sent);
      const endedAt = clock();
      const base = {
        kind: 'write',
        name,
        commands,
        check,
        isKeyed: sent.isKeyed,
        startedAt,
      } as const;
      const end = (rest: Pick<TortureWrite, 'outcome' | 'receipts' | 'actual' | 'endedAt'>) =>
        recorder.write({ ...base, ...rest });
      switch (attempt.kind) {
        case 'committed':
          if (sent.isKeyed) this.#answered.push({ sent, at: recorder.writes.length });
          return end({ outcome: 'committed', receipts: [attempt.receipt], actual: null, endedAt });
        case 'rejected': {
          const isWhole = (attempt.actual?.length ?? 0) < actualShown;
          const outcome = isWhole ? 'rejected' : 'refused';
          return end({ outcome, receipts: [], actual: attempt.actual, endedAt });
        }
        case 'refused':
          recorder.count('attempts refused');
          if (!sent.isKeyed)
            return end({ outcome: 'refused', receipts: [], actual: null, endedAt });
          break;
        case 'strange':
          recorder.complain(attempt.text);
          return end({ outcome: 'unknown', receipts: [], actual: null, endedAt: null });
        case 'unknown':
          recorder.count('attempts without an answer');
          if (!sent.isKeyed) {
            return end({ outcome: 'unknown', receipts: [], actual: null, endedAt: null });
          }
      }
      await delay(this.#random.between(10, 100));
    }
  }

  /** Sends an answered request again: it has to get the same response. */
  async #repeat(): Promise<void> {
    if (this.#answered.length === 0) return;
    const { target, recorder } = this.#around;
    const { sent, at } = this.#random.pick(this.#answered);
    const attempt = await attemptWrite(target, sent);
    const write = recorder.writes[at];
    if (write === undefined) return;
    recorder.count('repetitions');
    if (attempt.kind === 'strange') recorder.complain(attempt.text);
    if (attempt.kind === 'rejected')
      recorder.complain(`the repetition of ${sent.name} was rejected`);
    if (attempt.kind !== 'committed') return;
    const receipts: readonly WriteReceipt[] = [...write.receipts, attempt.receipt];
    recorder.writes[at] = { ...write, receipts };
    if (!attempt.isReplayed) recorder.complain(`the repetition of ${sent.name} was carried out`);
  }

  async #read(): Promise<void> {
    const { keys, recorder, regions, target } = this.#around;
    const region = this.#random.pick(regions);
    const at = this.#random.chance(0.5)
      ? { region: region.id }
      : { location: region.place.location };
    const read = await strongRead(target, keys.someToRead(this.#random), at);
    if (read === null) return recorder.count('reads without an answer');
    if (typeof read === 'string') return recorder.complain(read);
    recorder.read(read);
    for (const [key, text] of read.values) this.#seen.set(key, text);
  }

  #commandsOf(name: string): Pick<SentWrite, 'commands' | 'check'> {
    const random = this.#random;
    const { keys } = this.#around;
    const commands = drawCommands(name, keys, random);
    const [text] = commands.flatMap(keysWrittenBy).filter((key) => kindOf(key) === 'text');
    const seen = text === undefined ? undefined : this.#seen.get(text);
    const hasCheck = random.chance(0.3) && typeof seen === 'string';
    return {
      commands,
      check: hasCheck && text !== undefined ? { key: text, equals: String(seen) } : null,
    };
  }
}

/** Reads a region's Redis directly, each time at one moment, until the run is over. */
export async function readPlainly(
  { keys, recorder, isRunning }: Surroundings,
  { id, client }: TestRegion,
  random: Random,
): Promise<void> {
  while (isRunning()) {
    const wanted = keys.someToRead(random);
    const startedAt = clock();
    const texts = await plainTexts(client, wanted).catch(() => null);
    if (texts !== null) {
      const times = { startedAt, endedAt: clock() };
      const values = wanted.map((key, index) => [key, texts[index] ?? null] as const);
      recorder.read({
        kind: 'read',
        consistency: 'plain',
        region: id,
        via: 'redis',
        ...times,
        values,
      });
    }
    await delay(random.between(5, 40));
  }
}

/** The texts of keys in a Redis, at one moment. */
export async function plainTexts(
  client: TestRegion['client'],
  keys: readonly string[],
): Promise<readonly KeyText[]> {
  const transaction = client.multi();
  for (const [name = '', ...words] of readingsOf(keys)) transaction.call(name, ...words);
  const replies = (await transaction.exec()) ?? [];
  return keys.map((key, index) => {
    const [error, reply] = replies[index] ?? [new Error('no reply'), null];
    if (error !== null) throw error;
    return textOfReply(key, reply);
  });
}

/** A follower of the change feed that leaves and returns at random. */
export class TortureFollower {
  readonly changes: FollowedChange[] = [];
  readonly #reader: FeedReader = newReader(0, 'values=true');
  #hasEnough = false;

  /** The position up to which it has got everything. */
  get next(): number {
    return this.#reader.next;
  }

  /** Follows until `stop`; resolves with the end of the connection then. */
  async run(
    target: () => FollowedStack,
    follow: Follow,
    random: Random,
    complain: (text: string) => void,
  ): Promise<void> {
    while (!this.#hasEnough) {
      let left = random.between(1, 60);
      const ending = await follow(target(), this.#reader, () => {
        this.#take();
        left -= 1;
        return this.#hasEnough || left <= 0;
      });
      this.#take();
      if (ending !== 'left' && isWrong(ending.code)) {
        complain(`the feed ended with ${ending.code} ${ending.reason}`);
      }
      await delay(random.between(10, 200));
    }
  }

  /** Ends with the next message, or the end of the connection. */
  stop(): void {
    this.#hasEnough = true;
  }

  #take(): void {
    this.changes.push(...this.#reader.changes.splice(0).map(followed));
  }
}

/** True for an end of a connection that says that the position of the follower is wrong. */
function isWrong(code: number): boolean {
  return code >= 4_010 || code === 410 || code === 400;
}

function followed(change: SeenChange): FollowedChange {
  const { sequence, id = '', transaction = '', keys, commands = [], results = [] } = change;
  const names = commands.flatMap((command) => nameIn(command) ?? []);
  const counts = commands.flatMap(([command, key], index) =>
    command === 'INCR' && key !== undefined ? [[String(key), Number(results[index])] as const] : [],
  );
  return { sequence, id, transaction, keys, name: names[0] ?? null, counts };
}

/** The name of the write that a command belongs to, if it has it. */
function nameIn(command: readonly unknown[]): string | null {
  return /^(w\d+\.\d+);?$/.exec(String(command.at(-1)))?.[1] ?? null;
}
