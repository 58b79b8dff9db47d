/** The Durable Object of the registry. */
import { DurableObject } from 'cloudflare:workers';
import { type RpcAnswer, type RpcCall, serveCall } from '../../shared/contracts/rpc.ts';
import { UnknownStorageFormat } from '../platform/storage-form.ts';
import { RegistryLife } from './registry.ts';

/** The Durable Object of the registry. {@link Registry.call} is its only RPC method, so that every call carries its version. */
export class Registry extends DurableObject<Env> {
  readonly #life: RegistryLife | UnknownStorageFormat;

  constructor(context: DurableObjectState, environment: Env) {
    super(context, environment);
    this.#life = begin(context, environment);
  }

  /** Carries out a call of a method of `RegistryApi`. */
  async call(call: RpcCall): Promise<RpcAnswer> {
    const life = this.#life;
    if (life instanceof UnknownStorageFormat) return { kind: 'unfit', detail: life.message };
    return serveCall(life.served, life.storage, call);
  }
}

/** A life on the storage; or the reason why there is none: every call is refused, and the storage stays unchanged. */
function begin(context: DurableObjectState, environment: Env): RegistryLife | UnknownStorageFormat {
  try {
    return new RegistryLife(context.storage, environment);
  } catch (error) {
    if (!(error instanceof UnknownStorageFormat)) throw error;
    console.error('the registry cannot read its storage', error.message);
    return error;
  }
}
