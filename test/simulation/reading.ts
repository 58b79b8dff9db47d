import { compileReads } from '../../shared/commands/compile.ts';
import { encodeReply } from '../../shared/contracts/reply.ts';
import type { Decision, SnapshotRequest } from '../../shared/contracts/round.ts';
import { keyOf, type TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { EdgeReader } from './edge-reading.ts';
import type { ReadEntry } from './history.ts';
import type { Random } from './random.ts';
import type { Simulation } from './simulation.ts';

/** Strong reads, as the edge does them, and by its own code. */
export class Reader {
  /** Those that were answered. */
  readonly reads: ReadEntry[] = [];
  readonly #simulation: Simulation;
  readonly #random: Random;

  readonly #edge: EdgeReader | null;

  constructor(simulation: Simulation, random: Random) {
    this.#simulation = simulation;
    this.#random = random;
    const take = (entry: ReadEntry) => void this.reads.push(entry);
    this.#edge = simulation.weather.atEdge > 0 ? new EdgeReader(simulation, random, take) : null;
  }

  /** True while the edge's own code waits for something. */
  get isAwaited(): boolean {
    return this.#edge?.isAwaited === true;
  }

  /** One read, in the region that is given or in any. */
  read(done: () => void): void {
    const { timeline } = this.#simulation;
    const random = this.#random;
    const { keys } = this.#simulation.weather;
    const key = random.pick(keys);
    const other = random.pick(keys);
    const commands = random.pick<string[][]>([
      [
        ['TYPE', key],
        ['GET', key],
      ],
      [
        ['GET', key],
        ['GET', other],
        ['GET', 'n'],
      ],
      [
        ['GET', 'n'],
        ['HGETALL', 'h'],
      ],
      [
        ['TYPE', 'a'],
        ['TYPE', 'b'],
        ['TYPE', 'c'],
        ['TYPE', 'd'],
        ['GET', 'n'],
      ],
    ]);
    const compiled = compileReads(commands);
    if (!compiled.ok) throw new Error(compiled.detail);
    const regions = [...this.#simulation.regions.keys()];
    const region = this.#simulation.weather.readsInOne ? 'region-0' : random.pick(regions);
    const known = this.#simulation.operator.generationOf(region);
    const request = {
      shard: 0,
      generation: known,
      strong: true,
      leased: true,
      lastAcknowledged: null,
      settle: [],
      ...compiled,
    };
    if (this.#edge !== null && random.chance(this.#simulation.weather.atEdge)) {
      this.#edge.read(request, random.chance(0.5) ? region : null, done);
    } else if (random.chance(this.#simulation.weather.through))
      this.#readThroughCoordinator(region, request, timeline.now, done);
    else {
      timeline.after(random.between(0, 60), () => this.#simulation.requestLease(region));
      this.#snapshot(region, request, timeline.now, 6, done);
    }
  }

  #readThroughCoordinator(
    region: string,
    request: SnapshotRequest,
    invokedAt: number,
    done: () => void,
  ): void {
    const { timeline, random } = this.#simulation;
    const { keys: read, commands } = request;
    timeline.after(random.between(0, 60), () => {
      const asked = { keys: read, commands, region: random.chance(0.5) ? region : null };
      this.#simulation.anyCoordinator(0.5).read(asked, (reply) => {
        timeline.after(random.between(0, 60), () => {
          if (reply?.kind === 'read' && reply.answer.kind === 'read') {
            const { replies } = reply.answer;
            const answeredAt = timeline.now;
            this.reads.push({
              kind: 'read',
              request,
              invokedAt,
              answeredAt,
              replies,
            });
          }
          done();
        });
      });
    });
  }

  #snapshot(
    region: string,
    request: SnapshotRequest,
    invokedAt: number,
    attempts: number,
    done: () => void,
  ): void {
    const { timeline } = this.#simulation;
    let open = true;
    const once = (finish: () => void) => {
      if (!open) return;
      open = false;
      finish();
    };
    timeline.after(limits.readTimeoutMs, () => once(done));
    this.#simulation.snapshot(region, request, (result) =>
      once(() => {
        const isUnleased = result.kind === 'refused' && result.refusal.kind === 'lease';
        if (isUnleased) return this.#readThroughCoordinator(region, request, invokedAt, done);
        if (result.kind !== 'read' || attempts === 0) return done();
        const { replies, locks } = result;
        const answer = () => {
          const answeredAt = timeline.now;
          this.reads.push({
            kind: 'read',
            request,
            invokedAt,
            answeredAt,
            replies: encodeReply(replies),
          });
          done();
        };
        const settled = new Set(request.settle.map(({ transaction }) => keyOf(transaction)));
        const repeated = locks.some(({ holder }) => settled.has(keyOf(holder)));
        // For a single key, the state between a commit that was applied and a later lock is an answer.
        const outrun = request.keys.length === 1 && settled.size > 0 && !repeated;
        if (locks.length === 0 || outrun) return answer();
        this.#resolve(
          locks.map(({ holder }) => holder),
          (settle) => {
            if (settle === null) done();
            else if (settle.length === 0) answer();
            else this.#snapshot(region, { ...request, settle }, invokedAt, attempts - 1, done);
          },
        );
      }),
    );
  }

  #resolve(
    holders: readonly TransactionOrder[],
    give: (settle: readonly Decision[] | null) => void,
  ): void {
    const { timeline, random } = this.#simulation;
    timeline.after(random.between(0, 60), () => {
      this.#simulation.anyCoordinator().ask(holders, (reply) => {
        timeline.after(random.between(0, 60), () => {
          if (reply?.kind !== 'resolutions') return give(null);
          give(
            reply.resolutions.flatMap((one) =>
              one.kind === 'committed'
                ? [{ transaction: one.transaction, outcome: 'commit' as const, keys: one.keys }]
                : [],
            ),
          );
        });
      });
    });
  }
}
