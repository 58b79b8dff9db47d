import type {
  DeliveryDetail,
  DeliveryRecord,
  EndpointId,
  Subscription,
} from '../../../shared/contracts/webhooks-and-feed.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import type { AuthenticatedCaller } from '../http/respond.ts';

/**
 * Who sees and changes which part of a webhook: the one place that decides it.
 *
 * The address of a receiver often holds a secret, and its answers may hold anything. So both are for the owner, which is
 * the token that created the webhook, by its id, and for the scope `admin`. Everybody else with the scope `read` sees
 * the origin of the address, and how deliveries do. Who may not see a webhook whole may not change it either: the answer
 * to a change shows it, and a rotation shows its new secret.
 */
export function isOwn(
  { id, scope }: AuthenticatedCaller,
  { owner }: Pick<Subscription, 'owner'>,
): boolean {
  if (scope === 'admin') return true;
  // Release 0.1 noted no owner: such a webhook belongs to all who may create one.
  return scope === 'write' && (owner === null || owner === id);
}

/**
 * Whether a caller sees the deliveries of callbacks whole. Their endpoint's id is a digest of address and secret, so who
 * can name it knows both, or was told it by a write of its own; that takes the scope `write`.
 */
export function ownsCallbacks({ scope }: AuthenticatedCaller): boolean {
  return scope !== 'read';
}

/** The subscription, if the caller may change it. */
export function ownedBy(
  caller: AuthenticatedCaller,
  subscription: Subscription,
): Result<Subscription> {
  if (isOwn(caller, subscription)) return success(subscription);
  const detail =
    'This webhook belongs to another token. Use the token that created it, or one with the scope admin.';
  return failure('forbidden', detail, { needs: 'admin' });
}

/** A subscription as a caller sees it. Field by field, so that nothing that is added to it shows by itself. */
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

/** The origin of an address; `/…` stands for what is left out. */
export function originOf(url: string): string {
  const { origin, pathname, search } = new URL(url);
  return pathname === '/' && search === '' ? `${origin}/` : `${origin}/…`;
}

/** A delivery as the log shows it. `whole` adds the receiver's answer. */
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

/** A delivery with its attempts. `whole` adds the receiver's answers and the payload. */
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

/** True for the endpoint of callbacks. Nobody lists those, so their courier alone knows of them. */
export function isCallback(endpoint: EndpointId): boolean {
  return endpoint.startsWith('cb_');
}

function iso(at: number | null): string | null {
  return at === null ? null : new Date(at).toISOString();
}
