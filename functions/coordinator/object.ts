/** The Durable Object of a shard's coordinator. */
import { DurableObject } from 'cloudflare:workers';
import { type RpcAnswer, type RpcCall, serveCall } from '../../shared/contracts/rpc.ts';
import { limits } from '../../shared/limits.ts';
import { UnknownStorageFormat } from '../platform/storage-form.ts';
import { CoordinatorLife } from './coordinator.ts';
import { newSigningKey } from './notify/signing-key.ts';
import { shardOfObject, UnknownShard } from './shard-name.ts';

/**
 * The Durable Object of a shard's coordinator. It offers only {@link Coordinator.call} by RPC, so that no method can
 * skip the check of the call's version, or the proof of its answer.
 */
export class Coordinator extends DurableObject<Env> {
  readonly #life: CoordinatorLife | Unfit;

  constructor(context: DurableObjectState, environment: Env) {
    super(context, environment);
    this.#life = begin(context, environment);
  }

  /** Carries out a call of a method of `CoordinatorApi`. */
  async call(call: RpcCall): Promise<RpcAnswer> {
    const life = this.#life;
    if (!(life instanceof CoordinatorLife)) return { kind: 'unfit', detail: life.message };
    return serveCall(life.served, life.storage, call);
  }

  /** Wakes an instance after a crash; its constructor has already resumed the work. */
  override async alarm(): Promise<void> {
    if (this.#life instanceof CoordinatorLife) this.#life.alarm();
    // This release cannot read the storage, or does not know its shard. The alarm wakes the next life for the stored work.
    else await this.ctx.storage.setAlarm(Date.now() + limits.unfitAlarmMs);
  }
}

/** The reason why there is no life: every call is refused. */
type Unfit = UnknownStorageFormat | UnknownShard;

/** A life on the storage; or the reason why there is none: then the storage stays unchanged. */
function begin(context: DurableObjectState, environment: Env): CoordinatorLife | Unfit {
  try {
    const { storage, id } = context;
    const shard = shardOfObject(id.name, storage.sql);
    const abort = (reason: string) => context.abort(reason);
    return new CoordinatorLife({ shard, storage, abort, newSigningKey }, environment);
  } catch (error) {
    const isUnfit = error instanceof UnknownStorageFormat || error instanceof UnknownShard;
    if (!isUnfit) throw error;
    console.error('the coordinator cannot begin', error.message);
    return error;
  }
}
