/** Sends writes to the coordinator of their shard, and sends them again if a call fails (R46) or a key has moved (R50). */
import { keysOfWrite } from '../../../shared/commands/compile.ts';
import { anyScript } from '../../../shared/commands/user-scripts.ts';
import type {
  AnswerGroup,
  CoordinatorApi,
  PlacedAnswer,
  WriteAnswer,
  WriteRequest,
} from '../../../shared/contracts/coordinator.ts';
import { UnfitVersion } from '../../../shared/contracts/rpc.ts';
import { failure, type Problem, type Result, success } from '../../../shared/http/problems.ts';
import { type ShardId, shardOfWriteId, writeIdIn } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import type { ShardMap } from '../../../shared/shards/shard-map.ts';
import { Gatherer, type SharedCallMember } from '../cache/gatherer.ts';
import type { Background } from '../cache/region-directory.ts';
import { isOverloaded, retryLater, versionUnknown } from '../http/coordinator-calls.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import { oneShardOf, shardUnknown } from '../http/shards.ts';

const unknown =
  'The outcome of the write is unknown. Retry with the same Idempotency-Key, which executes it at most once; without one, read the keys first.';

/** The dependencies of the sending of writes. */
type SendDependencies = Pick<
  EdgeDependencies,
  'coordinatorOf' | 'log' | 'now' | 'pause' | 'shards' | 'withTimeout'
>;

/** Sends writes to a coordinator, once. Returns an answer per write. */
type Call = (
  coordinator: CoordinatorApi,
  requests: readonly WriteRequest[],
  shard: ShardId,
) => Promise<readonly WriteAnswer[]>;

/** The answers to writes whose keys had moved; null for those of which nothing was done, for the reason in `problem`. */
interface Resent {
  readonly answers: readonly (PlacedAnswer | null)[];
  readonly problem: Problem;
}

/**
 * Sends the writes of an isolate. Writes that meet in one turn go to the coordinator of their shard in one call, and each
 * gets its answer as soon as it is there.
 *
 * If a call throws, the object was reset (as by each deployment) or unreachable, and the outcome is unknown. So each of
 * its writes is sent again under the same id, in a call of its own: the new instance either answers from its records, or
 * knows that no older instance can still decide it, and executes it in the time that is left. An overloaded object is
 * not called again, as that would add to its load.
 */
export class WriteSender {
  readonly #dependencies: SendDependencies;
  readonly #gatherer: Gatherer<WriteRequest, WriteAnswer>;

  constructor(dependencies: SendDependencies) {
    this.#dependencies = dependencies;
    this.#gatherer = new Gatherer(dependencies, {
      members: limits.writesPerCall,
      size: limits.writeCallLength,
      patienceMs: limits.sharedWriteMs,
    });
  }

  /** Sends a write, maybe with writes of other requests. Its id gets the number of its shard. */
  async send(request: WriteRequest, background: Background): Promise<Result<PlacedAnswer>> {
    const length = lengthOf(request);
    const call: Call = async (coordinator, [sent = request], shard) => {
      const isShared = !sent.again && length <= limits.sharedWriteLength;
      if (!isShared) return [await coordinator.write(sent)];
      const destination = String(shard);
      const answer = await this.#gatherer.ask(destination, sent, length, background, (members) =>
        this.#sendAll(shard, members),
      );
      return [answer];
    };
    return onlyOf(await this.#sendToShard([request], call));
  }

  /** Sends a write that is executed after its response. */
  async accept(request: WriteRequest): Promise<Result<PlacedAnswer>> {
    const call: Call = async (coordinator, [sent = request]) => [await coordinator.accept(sent)];
    return onlyOf(await this.#sendToShard([request], call));
  }

  /** Sends the writes of a pipeline, which keep their order. */
  sendInOrder(requests: readonly WriteRequest[]): Promise<Result<readonly PlacedAnswer[]>> {
    return this.#sendToShard(requests, (coordinator, sent) => coordinator.writeAll(sent));
  }

  /**
   * Sends writes to the shard of their keys. Those that are answered `moved` are sent once more, by a newer map: their
   * shard has proved that it has not decided them, so they go under the number of the other one.
   */
  async #sendToShard(
    requests: readonly WriteRequest[],
    call: Call,
  ): Promise<Result<readonly PlacedAnswer[]>> {
    const { shards, now } = this.#dependencies;
    const startedAt = now();
    const map = shards.now;
    const home = oneShardOf(map, () => requests.flatMap(keysOf));
    if (!home.ok) return home;
    const answered = await this.#sendUntilAnswered(home.value, placed(requests, home.value), call);
    if (!answered.ok) return answered;
    const answers = answered.value;
    const moved = requests.filter((_, at) => answers[at]?.kind === 'moved');
    if (moved.length === 0) return success(answers.filter(isPlaced));
    const passedMs = now() - startedAt;
    const later = moved.map((request) => withLess(request, passedMs));
    const resent = await this.#sendMoved(later, answers.flatMap(movedKeys), home.value, map, call);
    if (!resent.ok) return resent;
    const { problem } = resent.value;
    const left = [...resent.value.answers];
    const isWhole = moved.length === requests.length && left.every((answer) => answer === null);
    if (isWhole) return { ok: false, problem };
    // Of a pipeline some are decided, so the others are reported one by one.
    return success(
      answers.map((answer, at) =>
        isPlaced(answer) ? answer : (left.shift() ?? unplaced(requests[at], problem.detail)),
      ),
    );
  }

  async #sendMoved(
    requests: readonly WriteRequest[],
    keys: readonly string[],
    before: ShardId,
    used: ShardMap,
    call: Call,
  ): Promise<Result<Resent>> {
    const newer = await this.#dependencies.shards.renewed(used);
    const home = oneShardOf(newer, () => keys);
    const none = requests.map(() => null);
    if (!home.ok) return success({ answers: none, problem: home.problem });
    const { problem } = shardUnknown();
    if (home.value === before) return success({ answers: none, problem });
    const answered = await this.#sendUntilAnswered(home.value, placed(requests, home.value), call);
    if (!answered.ok) return answered;
    const answers = answered.value.map((answer) => (isPlaced(answer) ? answer : null));
    return success({ answers, problem });
  }

  async #sendAll(
    shard: ShardId,
    members: readonly SharedCallMember<WriteRequest, WriteAnswer>[],
  ): Promise<void> {
    try {
      const coordinator = this.#dependencies.coordinatorOf(shard);
      const [first] = members;
      if (members.length === 1 && first !== undefined) {
        first.give(await coordinator.write(first.item));
        return;
      }
      const requests = members.map(({ item }) => item);
      const give = (answers: AnswerGroup) => {
        for (const [position, answer] of answers) members[position]?.give(answer);
      };
      give(await coordinator.writeGathered(requests, give));
    } catch (error) {
      for (const { fail } of members) fail(error);
    }
  }

  async #sendUntilAnswered(
    shard: ShardId,
    requests: readonly WriteRequest[],
    call: Call,
  ): Promise<Result<readonly WriteAnswer[]>> {
    const dependencies = this.#dependencies;
    const startedAt = dependencies.now();
    let sent = requests;
    for (let resends = 0; ; resends += 1) {
      try {
        return success(await call(dependencies.coordinatorOf(shard), sent, shard));
      } catch (error) {
        const details = {
          shard,
          method: 'write',
          call: resends + 1,
          error: String(error),
        };
        dependencies.log('coordinator did not answer', details);
        if (error instanceof UnfitVersion) return versionUnknown(error);
        if (isOverloaded(error) || resends === limits.resendsPerWrite) break;
      }
      // Randomized: the writes of all clients fail at the same moment, and should not all return at once.
      const pauseMs = limits.resendPauseMs * 4 ** resends;
      await dependencies.pause(Math.round(pauseMs * (0.5 + Math.random())));
      const passedMs = dependencies.now() - startedAt;
      sent = requests.map((request) => ({ ...withLess(request, passedMs), again: true }));
    }
    return failure('coordinator-unavailable', unknown, {}, retryLater);
  }
}

/** The characters of a write, about. */
function lengthOf({ ops, checks }: WriteRequest): number {
  let length = 0;
  for (const op of ops) for (const text of op) length += text.length + 1;
  for (const check of checks) length += JSON.stringify(check).length;
  return length;
}

/** A write after a part of its time. One whose time is over is not executed, but its recorded outcome is still returned. */
function withLess(request: WriteRequest, passedMs: number): WriteRequest {
  return { ...request, timeoutMs: Math.max(0, request.timeoutMs - passedMs) };
}

function keysOf({ ops, checks }: WriteRequest): readonly string[] {
  return keysOfWrite(ops, checks, anyScript);
}

/** The writes with ids of their shard, which say who has the outcome. */
function placed(requests: readonly WriteRequest[], shard: ShardId): readonly WriteRequest[] {
  return requests.map((request) => {
    const { id } = request;
    return shardOfWriteId(id) === shard ? request : { ...request, id: writeIdIn(shard, id) };
  });
}

function isPlaced(answer: WriteAnswer): answer is PlacedAnswer {
  return answer.kind !== 'moved';
}

function movedKeys(answer: WriteAnswer): readonly string[] {
  return answer.kind === 'moved' ? answer.keys : [];
}

/** The answer to a write of a pipeline of which others were decided. */
function unplaced(request: WriteRequest | undefined, reason: string): PlacedAnswer {
  return { kind: 'unavailable', id: request?.id ?? '', faults: [], reason, code: null };
}

function onlyOf(answered: Result<readonly PlacedAnswer[]>): Result<PlacedAnswer> {
  if (!answered.ok) return answered;
  const [only] = answered.value;
  return only === undefined ? shardUnknown() : success(only);
}
