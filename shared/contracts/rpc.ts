/**
 * Calls between the Worker and its Durable Objects, and between the objects. During a deployment the two ends may be of
 * different releases, so each call carries the version of its form, and a version that is not understood is refused as
 * such: nobody may take it for a loss, or for an answer.
 */

/** The version of the calls of this release. Raise it with each change that the release before would misread. */
export const rpcVersion = 2;

/** The oldest version that this release understands: that of the release before it, from 2 on. */
const rpcVersionOldest = 2;

/** One call of a method of an object. */
export interface RpcCall {
  readonly version: number;
  readonly method: string;
  readonly values: readonly unknown[];
}

/** The result of a call. `unfit`: this object and its caller, or its storage, do not fit together; nothing was done. */
export type RpcAnswer =
  | { readonly kind: 'answered'; readonly value: unknown }
  | { readonly kind: 'unfit'; readonly detail: string };

/** An object that can be called: this method is all that it offers by RPC. */
export interface RpcTarget {
  call(call: RpcCall): Promise<RpcAnswer>;
}

/**
 * How an answer is proved to come from the owner of the storage (rule R17).
 *
 * - `stored`: the answer follows a storage write begun after the request came; if there was none, one is made.
 * - `core`: the core decides in each step whether its answers need a proof, and makes it.
 * - `none`: the answer shows no state; the text says why.
 */
export type Proof = 'stored' | 'core' | { readonly none: string };

/** The methods that an object serves, each with the proof of its answers. The compiler reports a missing entry. */
export type Served<Api> = {
  readonly [Name in keyof Api]: { readonly proof: Proof; readonly run: Api[Name] };
};

/** The arguments of a method. */
export type ArgumentsOf<Api, Name extends keyof Api> = Api[Name] extends (
  ...values: infer Values
) => unknown
  ? Values
  : never;

/** The answer of a method, which resolves with it. */
export type AnswerOf<Api, Name extends keyof Api> = Api[Name] extends (
  ...values: never[]
) => Promise<infer Answer>
  ? Answer
  : never;

/** An object with the method `Name`, in the form in which a function can call a method whose name it is given. */
export type Callable<Api, Name extends keyof Api> = {
  readonly [Each in Name]: (...values: ArgumentsOf<Api, Each>) => Promise<AnswerOf<Api, Each>>;
};

/** The storage of an object as far as proofs need it. */
export interface ProvingStorage {
  /** How many writes this instance has begun. */
  readonly writesBegun: number;
  /** A write whose success proves that this instance still owns its storage. */
  prove(): void;
}

/** Thrown if the two ends of a call do not fit together: nothing was done, and a retry may find that they do. */
export class UnfitVersion extends Error {
  override readonly name = 'UnfitVersion';
}

type Method = { readonly proof: Proof; readonly run: (...values: never[]) => Promise<unknown> };

/** Carries out a call. Rejects with the error of the method. `storage` is null for an object that proves nothing. */
export async function serveCall<Api>(
  served: Served<Api>,
  storage: ProvingStorage | null,
  { version, method, values }: RpcCall,
): Promise<RpcAnswer> {
  if (!(version >= rpcVersionOldest && version <= rpcVersion)) {
    const detail = `a call has version ${version}, and this object supports ${rpcVersionOldest} to ${rpcVersion}`;
    return { kind: 'unfit', detail };
  }
  if (!Object.hasOwn(served, method)) {
    return { kind: 'unfit', detail: `this object has no method ${method}` };
  }
  const { proof, run } = served[method as keyof Api] as Method;
  const begunBefore = storage?.writesBegun;
  const value = await run(...(values as never[]));
  if (proof === 'stored' && storage?.writesBegun === begunBefore) storage?.prove();
  return { kind: 'answered', value };
}

/** Calls an object as if it were local. `target` is called each time, since a stub that has failed stays broken. */
export function remote<Api extends object>(target: () => RpcTarget): Api {
  const handler: ProxyHandler<object> = {
    get(_, method) {
      // `await` on the proxy itself looks for this method.
      if (typeof method !== 'string' || method === 'then') return undefined;
      return async (...values: readonly unknown[]) => {
        const answer = await target().call({ version: rpcVersion, method, values });
        if (answer.kind === 'answered') return answer.value;
        throw new UnfitVersion(answer.detail);
      };
    },
  };
  return new Proxy({}, handler) as Api;
}
