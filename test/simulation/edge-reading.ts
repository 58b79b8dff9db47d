import type { ReadDependencies } from '../../functions/edge/http/dependencies.ts';
import { RegionReader } from '../../functions/edge/reads/region-reader.ts';
import type { LeaseWish } from '../../shared/contracts/coordinator.ts';
import type { ReadableRegion } from '../../shared/contracts/region-client.ts';
import type { SnapshotRequest, SnapshotResult } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { initialMap } from '../../shared/shards/shard-map.ts';
import { type ReadEntry, textOfReplies } from './history.ts';
import type { Instance } from './instance.ts';
import type { Random } from './random.ts';
import type { Simulation } from './simulation.ts';

/** No read takes longer than the sum of all its attempts, ms. */
const patienceMs = 120_000;

/** Asks an instance; the answer is null if that dies first. */
type Ask<Answer> = (instance: Instance, give: (answer: Answer | null) => void) => void;

/**
 * Strong reads by the edge's own code, in isolates that come and go. Its region clients, its coordinator and its
 * clock are those of the simulation.
 */
export class EdgeReader {
  readonly #simulation: Simulation;
  readonly #random: Random;
  readonly #give: (entry: ReadEntry) => void;
  readonly #isolates: RegionReader[];
  #open = 0;

  /** `give` gets each read that a client was answered. */
  constructor(simulation: Simulation, random: Random, give: (entry: ReadEntry) => void) {
    this.#simulation = simulation;
    this.#random = random;
    this.#give = give;
    this.#isolates = [this.#isolate(), this.#isolate()];
  }

  /** True while a read is under way. */
  get isAwaited(): boolean {
    return this.#open > 0;
  }

  /** One read of `request`, in the given region or in any. */
  read(request: SnapshotRequest, region: string | null, done: () => void): void {
    const random = this.#random;
    if (random.chance(0.03)) this.#isolates[random.between(0, 1)] = this.#isolate();
    const isolate = random.pick(this.#isolates);
    // A client that goes away gets no reply; its request goes on.
    const leaves = random.chance(0.1);
    if (leaves) this.#simulation.timeline.after(random.between(0, 500), done);
    void this.#readIn(isolate, request, region, leaves ? () => {} : done, leaves);
  }

  async #readIn(
    isolate: RegionReader,
    request: SnapshotRequest,
    region: string | null,
    done: () => void,
    isIgnored: boolean,
  ): Promise<void> {
    const { timeline } = this.#simulation;
    const invokedAt = timeline.now;
    this.#open += 1;
    const { keys, commands } = request;
    const place = { consistency: 'strong', region, location: null } as const;
    const background = (work: Promise<void>) => void this.#await(work);
    const read = await isolate.read({ keys, commands, ...place, background });
    this.#open -= 1;
    const answeredAt = timeline.now;
    if (answeredAt - invokedAt > patienceMs) throw new Error('a read went on without end');
    if (read.ok && !isIgnored) {
      const replies = textOfReplies(read.value.replies);
      this.#give({ kind: 'read', request, invokedAt, answeredAt, replies, isParsed: true });
    }
    // It goes on as an event of its own, as a client would.
    timeline.after(0, done);
  }

  async #await(work: Promise<void>): Promise<void> {
    this.#open += 1;
    await work;
    this.#open -= 1;
  }

  #isolate(): RegionReader {
    const { timeline } = this.#simulation;
    const regions = [...this.#simulation.regions.keys()].map((id, index) => {
      const location = [0, index] as const;
      return { id, url: `https://${id}.example.com`, token: '', location };
    });
    const dependencies: ReadDependencies = {
      configuration: { regions, readTimeoutMs: limits.readTimeoutMs },
      shards: {
        now: initialMap(1),
        given: async () => initialMap(1),
        renewed: async () => initialMap(1),
      },
      coordinatorOf: () => this.#coordinator(regions),
      regionOf: ({ id }) => this.#client(id),
      now: () => timeline.now,
      // Long turns let more reads meet.
      pause: (ms) => this.#after(ms + this.#random.between(0, 150)),
      withTimeout: (promise, ms) =>
        Promise.race([promise, this.#after(ms).then(() => Promise.reject(new Error('too late')))]),
      log: () => {},
    };
    return new RegionReader(dependencies);
  }

  #after(ms: number): Promise<void> {
    return new Promise((resolve) => this.#simulation.timeline.after(ms, resolve));
  }

  #client(region: string): ReadableRegion {
    const snapshot = (request: SnapshotRequest, timeoutMs: number) =>
      new Promise<SnapshotResult>((resolve) => {
        const silent = { kind: 'silent', reason: 'no answer in time' } as const;
        this.#simulation.timeline.after(timeoutMs, () => resolve(silent));
        this.#simulation.snapshot(region, request, resolve);
      });
    // At times a value has grown, so that its readers cannot share a snapshot.
    const shortSnapshot = async (request: SnapshotRequest, timeoutMs: number) =>
      this.#random.chance(0.1) ? null : snapshot(request, timeoutMs);
    const isShort = () => this.#random.chance(0.8);
    return {
      round: unexpected,
      joint: unexpected,
      jointSnapshot: unexpected,
      inspect: unexpected,
      run: unexpected,
      snapshot,
      isShort,
      shortSnapshot,
    };
  }

  #coordinator(
    regions: ReadDependencies['configuration']['regions'],
  ): ReturnType<ReadDependencies['coordinatorOf']> {
    const attend = async (wishes: readonly LeaseWish[]) => {
      for (const { region, forMs } of wishes) this.#simulation.requestLease(region, forMs);
      const status = await this.#call<ReturnType<Instance['core']['status']>>((instance, give) =>
        instance.describe(give),
      );
      return { regions, status };
    };
    return {
      regions: unexpected,
      attend,
      resolve: (transactions) =>
        this.#call((instance, give) =>
          instance.ask(transactions, (reply) =>
            give(reply?.kind === 'resolutions' ? reply.resolutions : null),
          ),
        ),
      read: (request) =>
        this.#call((instance, give) =>
          instance.read(request, (reply) => give(reply?.kind === 'read' ? reply.answer : null)),
        ),
    };
  }

  /** A call of the coordinator. It rejects if that dies before it has answered. */
  #call<Answer>(ask: Ask<Answer>): Promise<Answer> {
    const { timeline, random } = this.#simulation;
    return new Promise((resolve, reject) => {
      timeline.after(random.between(0, 60), () =>
        ask(this.#simulation.anyCoordinator(), (answer) =>
          timeline.after(random.between(0, 60), () => {
            if (answer === null) reject(new Error('the object was reset'));
            else resolve(answer);
          }),
        ),
      );
    });
  }
}

async function unexpected(): Promise<never> {
  throw new Error('a read does not ask for that');
}
