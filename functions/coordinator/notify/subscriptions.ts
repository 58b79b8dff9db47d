/** Creates, changes and deletes subscriptions of webhooks, and recovers their events. */
import type {
  EndpointId,
  OutboxEvent,
  SigningKey,
  Subscribed,
  Subscription,
  SubscriptionChange,
  SubscriptionPatch,
} from '../../../shared/contracts/webhooks-and-feed.ts';
import type { RegionId } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import { EventRouter } from '../../../shared/protocol/transactions/event-router.ts';
import { disabledEvents, outboxEventsOf } from '../../../shared/webhooks/event-text.ts';
import type { ChangeLog, RecoveredWrite } from '../storage/change-log.ts';
import type { SubscriptionStorage } from '../storage/subscription-storage.ts';

/** The coordinator, as far as the subscriptions need it. */
export interface SubscriptionsHost {
  /** The regions that apply every write. */
  voters(): readonly RegionId[];
  /** The subscriptions have changed. */
  resubscribe(): void;
  /** Events have been added to the outbox. */
  outboxGrew(): void;
  newSigningKey(): Promise<SigningKey>;
}

/**
 * The subscriptions of webhooks, as owners and couriers change them, and the events that do not come from new writes.
 */
export class WebhookSubscriptions {
  readonly #storage: SubscriptionStorage;
  readonly #changes: Pick<ChangeLog, 'sequenceBefore' | 'recoverable'>;
  readonly #host: SubscriptionsHost;

  constructor(
    storage: SubscriptionStorage,
    changes: Pick<ChangeLog, 'sequenceBefore' | 'recoverable'>,
    host: SubscriptionsHost,
  ) {
    this.#storage = storage;
    this.#changes = changes;
    this.#host = host;
  }

  get all(): readonly Subscription[] {
    return this.#storage.all();
  }

  /** Stores a subscription, unless its owner has an equal one: a second one would only double every delivery. */
  subscribe(subscription: Subscription): Subscribed {
    const { all } = this;
    const same = all.find((one) => asksForTheSame(one, subscription));
    if (same !== undefined && same.endpoint !== subscription.endpoint) {
      return { kind: 'known', subscription: same };
    }
    // The same request, sent again under the same Idempotency-Key.
    if (same !== undefined) return { kind: 'created' };
    const detail = faultOfCount([...all, subscription], subscription);
    if (detail !== null) return { kind: 'full', detail };
    this.#storage.keepSubscription(subscription);
    this.#host.resubscribe();
    return { kind: 'created' };
  }

  change(endpoint: EndpointId, patch: SubscriptionPatch): SubscriptionChange {
    const known = this.#subscriptionOf(endpoint);
    if (known === null) return { kind: 'unknown' };
    const changed = { ...known, ...patch };
    const others = this.#storage.all().filter((one) => one.endpoint !== endpoint);
    const moves = hostOf(changed) !== hostOf(known);
    const detail = moves ? faultOfCount([...others, changed], changed) : null;
    if (detail !== null) return { kind: 'full', detail };
    this.#storage.keepSubscription(changed);
    this.#host.resubscribe();
    return { kind: 'changed', subscription: changed };
  }

  unsubscribe(endpoint: EndpointId): boolean {
    const known = this.#storage.dropSubscription(endpoint);
    this.#host.resubscribe();
    return known;
  }

  async recover(endpoint: EndpointId, since: number): Promise<number | null> {
    let place = this.#changes.sequenceBefore(since) ?? Number.MAX_SAFE_INTEGER;
    let writes = 0;
    let events = 0;
    while (writes < limits.writesPerRecovery) {
      const known = this.#subscriptionOf(endpoint);
      if (known === null) return null;
      const recovered = this.#changes.recoverable(place);
      const queued = recovered.flatMap((write) =>
        recoveredEvents(known, write, this.#host.voters()),
      );
      this.#storage.queueEvents(queued);
      this.#host.outboxGrew();
      events += queued.length;
      writes += recovered.length;
      place = recovered.at(-1)?.sequence ?? Number.MAX_SAFE_INTEGER;
      if (recovered.length === 0) break;
      // Yields to other events: done at once, a long recovery would delay writes.
      await new Promise((resolve) => setTimeout(resolve));
    }
    return events;
  }

  async signingKey(): Promise<SigningKey> {
    return (
      this.#storage.signingKey() ?? this.#storage.keepSigningKey(await this.#host.newSigningKey())
    );
  }

  disable(endpoint: EndpointId, reason: string, at: number): void {
    const known = this.#subscriptionOf(endpoint);
    // The courier repeats its report if it got no answer to the first one.
    if (known !== null && known.disabled !== null) return;
    if (known !== null) this.#storage.keepSubscription({ ...known, disabled: { at, reason } });
    this.#host.resubscribe();
    this.#storage.queueEvents(disabledEvents(this.#storage.all(), endpoint, reason, at));
    this.#host.outboxGrew();
  }

  #subscriptionOf(endpoint: EndpointId): Subscription | null {
    return this.#storage.all().find((one) => one.endpoint === endpoint) ?? null;
  }
}

/** True if two subscriptions of one owner ask for the same events at the same address. */
function asksForTheSame(one: Subscription, other: Subscription): boolean {
  const asked = ({ owner, url, events, prefixes, values }: Subscription) =>
    JSON.stringify([owner, url, events.toSorted(), prefixes.toSorted(), values]);
  return asked(one) === asked(other);
}

/** The bound that `all`, the new one included, would exceed, for people; null for none. */
function faultOfCount(all: readonly Subscription[], added: Subscription): string | null {
  const { subscriptions, subscriptionsPerHost, subscriptionsPerToken } = limits;
  if (all.length > subscriptions) return `There are ${subscriptions} webhooks already.`;
  const ofHost = all.filter((one) => hostOf(one) === hostOf(added));
  if (ofHost.length > subscriptionsPerHost) {
    return `There are ${subscriptionsPerHost} webhooks to this host already.`;
  }
  const ofToken = all.filter(({ owner }) => owner !== null && owner === added.owner);
  if (ofToken.length <= subscriptionsPerToken) return null;
  return `This token has ${subscriptionsPerToken} webhooks already.`;
}

function hostOf({ url }: Subscription): string {
  return new URL(url).host;
}

/** The events about a kept write for one subscription, whether or not they were delivered before. */
function recoveredEvents(
  subscription: Subscription,
  { write, confirmedAt }: RecoveredWrite,
  voters: readonly RegionId[],
): readonly OutboxEvent[] {
  const confirmations = new EventRouter([{ ...subscription, disabled: null }]);
  const uncalled = { ...write, callback: null };
  const decided = outboxEventsOf(confirmations.decided(uncalled));
  if (confirmedAt === null) return decided;
  const regions = Object.fromEntries(voters.map((id) => [id, null]));
  const confirmed = confirmations.confirmed(uncalled, confirmedAt, regions);
  return [...decided, ...outboxEventsOf(confirmed)];
}
