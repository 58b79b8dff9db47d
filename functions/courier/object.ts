/** The Durable Object of a courier: its RPC and its alarm, forwarded to the current life. */
import { DurableObject } from 'cloudflare:workers';
import { type RpcAnswer, type RpcCall, serveCall } from '../../shared/contracts/rpc.ts';
import { limits } from '../../shared/limits.ts';
import { UnknownStorageFormat } from '../platform/storage-form.ts';
import { CourierLife } from './life.ts';

/**
 * The Durable Object of the courier of one endpoint. {@link Courier.call} is its only RPC method, so that every call
 * carries its version.
 */
export class Courier extends DurableObject<Env> {
  readonly #life: CourierLife | UnknownStorageFormat;

  constructor(context: DurableObjectState, environment: Env) {
    super(context, environment);
    this.#life = begin(context, environment);
  }

  /** Calls a method of `CourierApi`. */
  async call(call: RpcCall): Promise<RpcAnswer> {
    const life = this.#life;
    if (life instanceof UnknownStorageFormat) return { kind: 'unfit', detail: life.message };
    return serveCall(life.served, null, call);
  }

  /** Sends the events that are due. */
  override async alarm(): Promise<void> {
    if (this.#life instanceof CourierLife) await this.#life.alarm();
    // Keeps an alarm set, so that a release that can read the storage is woken for its events.
    else await this.ctx.storage.setAlarm(Date.now() + limits.unfitAlarmMs);
  }
}

/** A new life, or the reason why there is none: then every call is refused, and the storage is left unchanged. */
function begin(context: DurableObjectState, environment: Env): CourierLife | UnknownStorageFormat {
  try {
    return new CourierLife(context, environment);
  } catch (error) {
    if (!(error instanceof UnknownStorageFormat)) throw error;
    console.error('a courier cannot read its storage', error.message);
    return error;
  }
}
