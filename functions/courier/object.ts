import { DurableObject } from 'cloudflare:workers';
import { type RpcAnswer, type RpcCall, serveCall } from '../../shared/contracts/rpc.ts';
import { limits } from '../../shared/limits.ts';
import { UnknownStorageFormat } from '../platform/storage-form.ts';
import { CourierLife } from './life.ts';

/**
 * The Durable Object of the courier of one endpoint. All that it offers by RPC is {@link Courier.call}, so that no method
 * can leave out the version of a call.
 */
export class Courier extends DurableObject<Env> {
  readonly #life: CourierLife | UnknownStorageFormat;

  constructor(context: DurableObjectState, environment: Env) {
    super(context, environment);
    this.#life = begin(context, environment);
  }

  /** Carries out a call of a method of `CourierApi`. */
  async call(call: RpcCall): Promise<RpcAnswer> {
    const life = this.#life;
    if (life instanceof UnknownStorageFormat) return { kind: 'unfit', detail: life.message };
    return serveCall(life.served, null, call);
  }

  /** Wakes a courier for what is due. */
  override async alarm(): Promise<void> {
    if (this.#life instanceof CourierLife) await this.#life.alarm();
    // The release that can read the storage has to be woken for what is in it.
    else await this.ctx.storage.setAlarm(Date.now() + limits.unfitAlarmMs);
  }
}

/** A life on the storage, or why there is none: then every call is refused, and the storage is left as it is. */
function begin(context: DurableObjectState, environment: Env): CourierLife | UnknownStorageFormat {
  try {
    return new CourierLife(context, environment);
  } catch (error) {
    if (!(error instanceof UnknownStorageFormat)) throw error;
    console.error('a courier cannot read its storage', error.message);
    return error;
  }
}
