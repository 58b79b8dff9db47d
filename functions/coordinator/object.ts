/** The Durable Object of a shard's coordinator. */
import { DurableObject } from 'cloudflare:workers';
import { type RpcAnswer, type RpcCall, serveCall } from '../../shared/contracts/rpc.ts';
import { limits } from '../../shared/limits.ts';
import { UnknownStorageFormat } from '../platform/storage-form.ts';
import { CoordinatorLife } from './coordinator.ts';
import { newSigningKey } from './notify/signing-key.ts';

/**
 * The Durable Object of a shard's coordinator. It offers only {@link Coordinator.call} by RPC, so that no method can
 * skip the check of the call's version, or the proof of its answer.
 */
export class Coordinator extends DurableObject<Env> {
  readonly #life: CoordinatorLife | UnknownStorageFormat;

  constructor(context: DurableObjectState, environment: Env) {
    super(context, environment);
    this.#life = begin(context, environment);
  }

  /** Carries out a call of a method of `CoordinatorApi`. */
  async call(call: RpcCall): Promise<RpcAnswer> {
    const life = this.#life;
    if (life instanceof UnknownStorageFormat) return { kind: 'unfit', detail: life.message };
    return serveCall(life.served, life.storage, call);
  }

  /** Wakes an instance after a crash; its constructor has already resumed the work. */
  override async alarm(): Promise<void> {
    if (this.#life instanceof CoordinatorLife) this.#life.alarm();
    // This release cannot read the storage. Once a later release is deployed, the alarm wakes it for the stored work.
    else await this.ctx.storage.setAlarm(Date.now() + limits.unfitAlarmMs);
  }
}

/** A life on the storage; or the reason why there is none: every call is refused, and the storage stays unchanged. */
function begin(
  context: DurableObjectState,
  environment: Env,
): CoordinatorLife | UnknownStorageFormat {
  try {
    const { storage } = context;
    const abort = (reason: string) => context.abort(reason);
    return new CoordinatorLife({ storage, abort, newSigningKey }, environment);
  } catch (error) {
    if (!(error instanceof UnknownStorageFormat)) throw error;
    console.error('the coordinator cannot read its storage', error.message);
    return error;
  }
}
