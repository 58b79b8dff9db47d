/** Sends writes to the coordinator, and sends them again if a call fails (R46). */
import type {
  AnswerGroup,
  CoordinatorApi,
  WriteAnswer,
  WriteRequest,
} from '../../../shared/contracts/coordinator.ts';
import { UnfitVersion } from '../../../shared/contracts/rpc.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import { limits } from '../../../shared/limits.ts';
import { Gatherer, type SharedCallMember } from '../cache/gatherer.ts';
import type { Background } from '../cache/region-directory.ts';
import { isOverloaded, retryLater, versionUnknown } from '../http/coordinator-calls.ts';
import { type EdgeDependencies, onlyShard } from '../http/dependencies.ts';

const unknown =
  'The outcome of the write is unknown. Retry with the same Idempotency-Key, which executes it at most once; without one, read the keys first.';

/** The dependencies of the sending of writes. */
type SendDependencies = Pick<
  EdgeDependencies,
  'coordinatorOf' | 'log' | 'now' | 'pause' | 'withTimeout'
>;

/**
 * Sends the writes of an isolate. Writes that meet in one turn go to the coordinator in one call, and each gets its
 * answer as soon as it is there.
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

  /** Sends a write, maybe with writes of other requests. */
  send(request: WriteRequest, background: Background): Promise<Result<WriteAnswer>> {
    const length = lengthOf(request);
    return this.#sendUntilAnswered([request], ([sent = request]) => {
      const isShared = !sent.again && length <= limits.sharedWriteLength;
      if (!isShared) return this.#coordinator.write(sent);
      return this.#gatherer.ask('', sent, length, background, (members) => this.#sendAll(members));
    });
  }

  /** Sends a write that is executed after its response. */
  accept(request: WriteRequest): Promise<Result<WriteAnswer>> {
    return this.#sendUntilAnswered([request], ([sent = request]) => this.#coordinator.accept(sent));
  }

  /** Sends the writes of a pipeline, which keep their order. */
  sendInOrder(requests: readonly WriteRequest[]): Promise<Result<readonly WriteAnswer[]>> {
    return this.#sendUntilAnswered(requests, (sent) => this.#coordinator.writeAll(sent));
  }

  get #coordinator(): CoordinatorApi {
    return this.#dependencies.coordinatorOf(onlyShard);
  }

  async #sendAll(members: readonly SharedCallMember<WriteRequest, WriteAnswer>[]): Promise<void> {
    try {
      const [first] = members;
      if (members.length === 1 && first !== undefined) {
        first.give(await this.#coordinator.write(first.item));
        return;
      }
      const requests = members.map(({ item }) => item);
      const give = (answers: AnswerGroup) => {
        for (const [position, answer] of answers) members[position]?.give(answer);
      };
      give(await this.#coordinator.writeGathered(requests, give));
    } catch (error) {
      for (const { fail } of members) fail(error);
    }
  }

  async #sendUntilAnswered<Answer>(
    requests: readonly WriteRequest[],
    call: (requests: readonly WriteRequest[]) => Promise<Answer>,
  ): Promise<Result<Answer>> {
    const dependencies = this.#dependencies;
    const startedAt = dependencies.now();
    let sent = requests;
    for (let resends = 0; ; resends += 1) {
      try {
        return success(await call(sent));
      } catch (error) {
        const details = {
          shard: onlyShard,
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
      sent = requests.map((request) => againAfter(request, passedMs));
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

/** A write whose time is over is not executed, but its recorded outcome is still returned. */
function againAfter(request: WriteRequest, passedMs: number): WriteRequest {
  return { ...request, again: true, timeoutMs: Math.max(0, request.timeoutMs - passedMs) };
}
