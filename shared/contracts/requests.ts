/**
 * Requests that create or trigger something and that a client may send again under an Idempotency-Key. Writes are not among
 * them: their answers are part of their decisions.
 */

/** A request under a key. */
export interface KeyedRequest {
  /** The id of the client's token: keys belong to it. */
  readonly token: string;
  readonly key: string;
  /** Of the address and the body: another request under the same key is refused. */
  readonly digest: string;
  /** Fresh for each attempt to carry the request out. */
  readonly attempt: string;
}

/** The response to a request that was carried out. */
export interface KeptResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The state of a request as it arrives. */
export type RequestBegun =
  /**
   * It is to be carried out. Its ids and secrets follow from `seed`, which is that of the first attempt, so an attempt
   * that was cut off and the next one make the same.
   */
  | { readonly kind: 'begun'; readonly seed: string; readonly keptUntil: number }
  | { readonly kind: 'done'; readonly response: KeptResponse; readonly keptUntil: number }
  /** Another attempt is being carried out. */
  | { readonly kind: 'underway' }
  /** Another request was sent under this key. */
  | { readonly kind: 'reused' }
  /** As many requests are kept as there may be, of this token or of all. */
  | { readonly kind: 'full' };

/** How an attempt ended: with a response that is kept, with nothing done (the key is free again), or unknown. */
export type RequestEnd = KeptResponse | 'nothing-done' | 'unknown';
