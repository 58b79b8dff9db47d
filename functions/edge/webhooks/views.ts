/** Decides which parts of a webhook a caller may see and change, and presents them. No other file decides that. */
import type {
  DeliveryDetail,
  DeliveryRecord,
  EndpointId,
  Subscription,
} from '../../../shared/contracts/webhooks-and-feed.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import type { AuthenticatedCaller } from '../http/respond.ts';

/**
 * Whether a caller owns a webhook: may see its URL and the responses of its receiver, and may change it.
 *
 * The URL of a receiver often contains a secret, and its responses may contain anything. So only the token that created
 * the webhook (identified by its id) and tokens with the scope `admin` see them. Every other token sees the origin of
 * the URL and the state of deliveries. It may not change the webhook either, since the response to a change shows the
 * URL, and a rotation shows the new secret.
 */
export function isOwn(
  { id, scope }: AuthenticatedCaller,
  { owner }: Pick<Subscription, 'owner'>,
): boolean {
  if (scope === 'admin') return true;
  // Webhooks of release 0.1 have no owner: they belong to every token that may create webhooks.
  return scope === 'write' && (owner === null || owner === id);
}

/**
 * Whether a caller sees the deliveries of callbacks in full. The endpoint id is a digest of URL and secret, so a caller
 * that names it knows both, or has it from a write of its own, which takes the scope `write`.
 */
export function ownsCallbacks({ scope }: AuthenticatedCaller): boolean {
  return scope !== 'read';
}

/** The subscription if the caller may change it, otherwise the problem `forbidden`. */
export function ownedBy(
  caller: AuthenticatedCaller,
  subscription: Subscription,
): Result<Subscription> {
  if (isOwn(caller, subscription)) return success(subscription);
  const detail =
    'This webhook belongs to another token. Use the token that created it, or one with the scope admin.';
  return failure('forbidden', detail, { needs: 'admin' });
}

/** A subscription as a caller may see it. Lists each member, so that a new one stays hidden until it is added here. */
export function presentWebhook(
  subscription: Subscription,
  caller: AuthenticatedCaller,
): Readonly<Record<string, unknown>> {
  const { endpoint, url, events, prefixes, values, description, disabled } = subscription;
  return {
    id: endpoint,
    url: isOwn(caller, subscription) ? url : originOf(url),
    events,
    prefixes,
    values,
    description,
    disabled: disabled && { ...disabled, at: new Date(disabled.at).toISOString() },
    createdAt: new Date(subscription.createdAt).toISOString(),
  };
}

/** The origin of a URL; `/…` stands for a path or query. */
export function originOf(url: string): string {
  const { origin, pathname, search } = new URL(url);
  return pathname === '/' && search === '' ? `${origin}/` : `${origin}/…`;
}

/** A delivery in the log. `whole` includes the receiver's response. */
export function presentDelivery(
  record: DeliveryRecord,
  whole: boolean,
): Readonly<Record<string, unknown>> {
  const { event, type, state, attempts, status, ms, answer } = record;
  return {
    event,
    type,
    state,
    attempts,
    status,
    ms,
    answer: whole ? answer : null,
    at: iso(record.at),
    lastAttemptAt: iso(record.lastAttemptAt),
    nextAttemptAt: iso(record.nextAttemptAt),
  };
}

/** A delivery with its attempts. `whole` includes the payload and the receiver's responses. */
export function presentDetail(
  detail: DeliveryDetail,
  whole: boolean,
): Readonly<Record<string, unknown>> {
  const history = detail.history.map(({ at, status, ms, answer }) => ({
    at: iso(at),
    status,
    ms,
    answer: whole ? answer : null,
  }));
  return {
    ...presentDelivery(detail, whole),
    history,
    payload: whole && detail.body !== '' ? detail.body : null,
  };
}

/** True for an endpoint of callbacks. It has no subscription: only its courier knows it. */
export function isCallback(endpoint: EndpointId): boolean {
  return endpoint.startsWith('cb_');
}

function iso(at: number | null): string | null {
  return at === null ? null : new Date(at).toISOString();
}
