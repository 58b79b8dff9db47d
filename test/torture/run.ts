/** One torture run: a stack, clients and faults, and the judgement of their history. */
import { setTimeout as delay } from 'node:timers/promises';
import { Random } from '../simulation/random.ts';
import { followByEvents, followBySocket } from '../support/stack/followers.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { violationsIn } from './checker.ts';
import {
  plainTexts,
  readPlainly,
  type Surroundings,
  TortureClient,
  TortureFollower,
} from './clients.ts';
import { Disasters } from './disasters.ts';
import { FrontProxy } from './front.ts';
import type { KeyText, TortureHistory, Violation } from './history.ts';
import { KeySpace } from './keys.ts';
import { membersSeen, newestSequence, regionsNotVoting } from './members.ts';
import { clock, Recorder } from './recorder.ts';
import { attemptWrite, strongRead, type TortureTarget } from './requests.ts';
import { Workers } from './workers.ts';

/** The size of a run. */
export interface TortureOptions {
  readonly seconds: number;
  readonly seed: number;
  readonly clients: number;
  /** An absolute path of an empty directory, for the data and the logs. */
  readonly stateDirectory: string;
  /** Called with the phase of the run and its counts, often. */
  readonly onProgress?: (phase: string, recorder: Recorder) => void;
}

/** The outcome of a run. */
export interface TortureOutcome {
  readonly history: TortureHistory;
  readonly recorder: Recorder;
  readonly violations: readonly Violation[];
}

/** Deadlines so short that regions are evicted, and return, within seconds. */
const variables = {
  LOCKSTEP_VOTE_DEADLINE_MS: '1000',
  LOCKSTEP_ROUND_TIMEOUT_MS: '1200',
  LOCKSTEP_READ_TIMEOUT_MS: '1200',
  LOCKSTEP_OUT_AFTER_MS: '1500',
};

/** The time after which something that must come in the end is reported as missing, in ms. It is no claim about speed. */
const patienceMs = 240_000;

const progressEveryMs = 500;

/** Runs everything, and judges it. */
export async function torture(options: TortureOptions): Promise<TortureOutcome> {
  const { stateDirectory, seed } = options;
  const stack = await startTestStack({ stateDirectory, variables });
  const workers = new Workers(stack);
  const front = await FrontProxy.start(randomOf(seed, 'requests'), () => workers.url);
  try {
    return await new Run(options, stack, workers, front).all();
  } finally {
    await front.close();
    await workers.stop();
    await stack.stop();
  }
}

/** A source of randomness per part, so that one that draws more changes no other. */
function randomOf(seed: number, name: string): Random {
  const mixed = [...name].reduce((sum, character) => sum * 31 + character.charCodeAt(0), seed);
  return new Random(mixed % 1_000_000_007);
}

class Run {
  readonly #options: TortureOptions;
  readonly #stack: TestStack;
  readonly #workers: Workers;
  readonly #front: FrontProxy;
  readonly #recorder = new Recorder();
  readonly #keys = new KeySpace();
  readonly #direct: TortureTarget;
  #isRunning = true;
  #phase = 'load';
  #probes = 0;

  constructor(options: TortureOptions, stack: TestStack, workers: Workers, front: FrontProxy) {
    this.#options = options;
    this.#stack = stack;
    this.#workers = workers;
    this.#front = front;
    const { tokens } = stack;
    this.#direct = {
      get url() {
        return workers.url;
      },
      tokens,
    };
  }

  async all(): Promise<TortureOutcome> {
    const { clients, seconds, seed, onProgress } = this.#options;
    const { regions, tokens } = this.#stack;
    const timer = setInterval(() => onProgress?.(this.#phase, this.#recorder), progressEveryMs);
    try {
      const isRunning = () => this.#isRunning;
      const around: Surroundings = {
        target: { url: this.#front.url, tokens },
        regions,
        keys: this.#keys,
        recorder: this.#recorder,
        isRunning,
      };
      await this.#untilWhole();
      const followers = this.#followers();
      const disasters = new Disasters(
        {
          regions,
          workers: this.#workers,
          front: this.#front,
          recorder: this.#recorder,
          isRunning,
          isWhole: () => this.#isWhole(),
        },
        (name) => randomOf(seed, name),
      );
      const tasks = [
        ...Array.from({ length: clients }, (_, number) =>
          new TortureClient(around, randomOf(seed, `client ${number}`), number).run(),
        ),
        ...regions.map((region) => readPlainly(around, region, randomOf(seed, `at ${region.id}`))),
      ];
      await delay(seconds * 1_000);
      this.#isRunning = false;
      this.#phase = 'the last faults end';
      await disasters.finish();
      this.#phase = 'waiting for the last answers';
      await this.#expect('an answer to every write under a key', Promise.all(tasks));
      const history = await this.#settled(disasters, followers);
      this.#phase = 'checking';
      onProgress?.(this.#phase, this.#recorder);
      return { history, recorder: this.#recorder, violations: violationsIn(history) };
    } finally {
      this.#isRunning = false;
      clearInterval(timer);
    }
  }

  #followers(): readonly TortureFollower[] {
    const complain = (text: string) => this.#recorder.complain(text);
    const throughFront = { url: this.#front.url, tokens: this.#stack.tokens };
    const { seed } = this.#options;
    const bySocket = new TortureFollower();
    const byEvents = new TortureFollower();
    void bySocket.run(() => this.#direct, followBySocket, randomOf(seed, 'socket'), complain);
    void byEvents.run(() => throughFront, followByEvents, randomOf(seed, 'events'), complain);
    return [bySocket, byEvents];
  }

  /** Waits until nothing is left of the faults, and reads everything. */
  async #settled(
    disasters: Disasters,
    followers: readonly TortureFollower[],
  ): Promise<TortureHistory> {
    const { regions, tokens } = this.#stack;
    this.#phase = 'waiting until every region votes';
    await this.#untilWhole();
    this.#phase = 'waiting until nothing is locked';
    await this.#until('a region without locks and shadows', async () => {
      const locks = await this.#stack.locks();
      const shadows = regions.map(({ client }) => client.keys('lockstep:*:*:*'));
      const left = [...locks, ...(await Promise.all(shadows)).flat()];
      return left.length === 0 ? null : `left are ${left.slice(0, 10).join(', ')}`;
    });
    this.#phase = 'waiting for writes without an answer to end';
    await delay(openWritesMs);
    this.#phase = 'reading everything';
    await this.#readAll();
    let finals = await this.#finals();
    await this.#until('every change in the feed', async () => {
      const newest = await newestSequence(this.#workers.url, tokens);
      finals = await this.#finals();
      const isLast = newest === (await newestSequence(this.#workers.url, tokens));
      const late = followers.filter(({ next }) => newest === null || next < newest);
      if (isLast && late.length === 0) return null;
      return `followers are at ${followers.map(({ next }) => next)} of ${newest}`;
    });
    for (const follower of followers) follower.stop();
    const { writes, reads, complaints } = this.#recorder;
    const { copies, divergences } = await membersSeen(this.#workers.url, tokens);
    return {
      writes,
      reads,
      followers: followers.map(({ changes }) => changes),
      finals,
      finalAt: clock(),
      copies,
      losses: disasters.losses,
      complaints: [...complaints, ...divergences],
    };
  }

  /** The text of every key in every region. */
  async #finals(): Promise<ReadonlyMap<string, ReadonlyMap<string, KeyText>>> {
    const finals = new Map<string, ReadonlyMap<string, KeyText>>();
    const keys = [...this.#keys.all];
    for (const { id, client } of this.#stack.regions) {
      const texts = await plainTexts(client, keys);
      finals.set(id, new Map(keys.map((key, index) => [key, texts[index] ?? null])));
    }
    return finals;
  }

  /** Strong reads of every key in every region, part by part. */
  async #readAll(): Promise<void> {
    const keys = [...this.#keys.all];
    for (const { id } of this.#stack.regions) {
      for (let at = 0; at < keys.length; at += keysPerRead) {
        const some = keys.slice(at, at + keysPerRead);
        await this.#until(`a strong read in ${id}`, async () => {
          const read = await strongRead(this.#direct, some, { region: id });
          if (read === null) return 'no answer';
          if (typeof read === 'string') return read;
          this.#recorder.read(read);
          return null;
        });
      }
    }
  }

  async #untilWhole(): Promise<void> {
    await this.#until('votes of all regions', () => this.#reasonNotWhole());
  }

  /** Gives up after a while, so that other disasters go on. */
  async #isWhole(): Promise<boolean> {
    const deadline = clock() + wholeWithinMs;
    while (clock() < deadline && this.#isRunning) {
      if ((await this.#reasonNotWhole()) === null) return true;
      await delay(100);
    }
    return false;
  }

  /** Null if every region votes, also after a write that had to reach each of them. */
  async #reasonNotWhole(): Promise<string | null> {
    const { tokens } = this.#stack;
    const missing = 'the Worker does not answer';
    const before = (await regionsNotVoting(this.#workers.url, tokens)) ?? [missing];
    if (before.length > 0) return before.join(', ');
    this.#probes += 1;
    const name = `probe.${this.#probes}`;
    const commands = [['SET', '{probe}:probe', name]];
    const rest = {
      check: null,
      isKeyed: false,
      timeoutMs: 2_000,
      priority: 0,
      ack: 'committed',
    } as const;
    const written = await attemptWrite(this.#direct, { name, commands, ...rest });
    if (written.kind !== 'committed') return `a write was ${JSON.stringify(written)}`;
    const after = (await regionsNotVoting(this.#workers.url, tokens)) ?? [missing];
    return after.length > 0 ? after.join(', ') : null;
  }

  async #until(text: string, reasonNot: () => Promise<string | null>): Promise<void> {
    const deadline = clock() + patienceMs;
    for (;;) {
      const reason = await reasonNot().catch(String);
      if (reason === null) return;
      if (clock() > deadline) {
        this.#recorder.complain(`there was no ${text} in ${patienceMs / 1_000} s: ${reason}`);
        return;
      }
      await delay(50);
    }
  }

  async #expect(text: string, done: Promise<unknown>): Promise<void> {
    const late = Symbol('late');
    const stop = new AbortController();
    const timer = delay(patienceMs, late, { signal: stop.signal }).catch(() => null);
    const first = await Promise.race([done, timer]);
    stop.abort();
    if (first !== late) return;
    this.#recorder.complain(`there was no ${text} in ${patienceMs / 1_000} s`);
  }
}

/** No write without an answer is undecided for longer: a client's time limit, and some for its last attempt. */
const openWritesMs = 6_000;

/** The keys of one strong read of the end. */
const keysPerRead = 20;

/** The time for which a disaster waits until no region lacks anything, in ms. */
const wholeWithinMs = 20_000;
