/** The Durable Object of a courier: its RPC and its alarm, forwarded to the current life. */
import { DurableObject } from 'cloudflare:workers';
import { type RpcAnswer, type RpcCall, serveCall } from '../../shared/contracts/rpc.ts';
import { limits } from '../../shared/limits.ts';
import { UnknownStorageFormat } from '../platform/storage-form.ts';
import { StorageBeingConverted } from './conversion.ts';
import { CourierLife } from './life.ts';

/**
 * The Durable Object of the courier of one endpoint. {@link Courier.call} is its only RPC method, so that every call
 * carries its version.
 */
export class Courier extends DurableObject<Env> {
  #life: CourierLife | Unready;

  constructor(context: DurableObjectState, environment: Env) {
    super(context, environment);
    this.#life = begin(context, environment);
  }

  /** Calls a method of `CourierApi`. */
  async call(call: RpcCall): Promise<RpcAnswer> {
    const life = this.#begun();
    if (!(life instanceof CourierLife)) return { kind: 'unfit', detail: life.message };
    return serveCall(life.served, null, call);
  }

  /** Sends the events that are due. */
  override async alarm(): Promise<void> {
    const life = this.#begun();
    if (life instanceof CourierLife) return life.alarm();
    // Keeps an alarm set, so that the rest is converted, or a release that can read the storage is woken.
    const { pruneSliceMs, unfitAlarmMs } = limits;
    const waitMs = life instanceof StorageBeingConverted ? pruneSliceMs : unfitAlarmMs;
    await this.ctx.storage.setAlarm(Date.now() + waitMs);
  }

  /** Begins the life, if the storage can be read by now. */
  #begun(): CourierLife | Unready {
    if (this.#life instanceof StorageBeingConverted) this.#life = begin(this.ctx, this.env);
    return this.#life;
  }
}

/** The reason why there is no life: every call is refused. */
type Unready = UnknownStorageFormat | StorageBeingConverted;

/** A new life, or the reason why there is none. An unknown format is left unchanged. */
function begin(context: DurableObjectState, environment: Env): CourierLife | Unready {
  try {
    return new CourierLife(context, environment);
  } catch (error) {
    if (error instanceof StorageBeingConverted) return error;
    if (!(error instanceof UnknownStorageFormat)) throw error;
    console.error('a courier cannot read its storage', error.message);
    return error;
  }
}
