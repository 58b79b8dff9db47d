import { DurableObject } from 'cloudflare:workers';
import { type RpcAnswer, type RpcCall, serveCall } from '../../shared/contracts/rpc.ts';
import { limits } from '../../shared/limits.ts';
import { UnknownStorageFormat } from '../platform/storage-form.ts';
import { CoordinatorLife } from './coordinator.ts';
import { newSigningKey } from './notify/signing-key.ts';

/**
 * The Durable Object of a shard's coordinator. All that it offers by RPC is {@link Coordinator.call}, so that no method
 * can leave out the version of a call, or the proof of its answer.
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

  /** Wakes an instance that a crash left with work; the constructor has taken that work up already. */
  override async alarm(): Promise<void> {
    if (this.#life instanceof CoordinatorLife) this.#life.alarm();
    // The release that can read the storage has to be woken for what is in it.
    else await this.ctx.storage.setAlarm(Date.now() + limits.unfitAlarmMs);
  }
}

/** A life on the storage, or why there is none: then every call is refused, and the storage is left as it is. */
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
