/** The limits of webhooks, which are a part of `limits`. */

/** Each limit with its meaning. The page of limits is made from these comments. */
export const webhookLimits = {
  // Webhooks
  /** Subscriptions of a shard. */
  subscriptions: 200,
  /** Subscriptions to one host. Each may be sent every write. */
  subscriptionsPerHost: 20,
  /** Subscriptions of one token. */
  subscriptionsPerToken: 100,
  /** Key prefixes of one subscription. */
  prefixesPerSubscription: 32,
  /** The URL of a webhook. */
  urlBytes: 2_048,
  /** The body of an event. Values are omitted from a larger one. */
  eventBytes: 256_000,
  /** The bodies with values of one event, over all of its receivers. */
  eventBytesTogether: 1_000_000,
  /** The keys of a write over all receivers. One receiver gets the keys of the largest write. */
  eventKeysTogether: 4_000_000,
  /** The keys of one event, as JSON in UTF-8, since an event is stored in one row. */
  eventKeysBytes: 1_900_000,
  /** Events of one handover to a courier. */
  eventsPerHandover: 100,
  /** The characters of one handover. A call may have 32 MiB, and a character up to 2 bytes. */
  handoverCharacters: 4_000_000,
  /** Callback targets that one slice of pruning visits. */
  targetsPerPrune: 10_000,
  /** Couriers that are called at the same time. */
  couriersAtOnce: 4,
  /** The time after which a handover without a response is tried again. */
  handoverTimeoutMs: 10_000,
  /** The time for which events wait to share a handover, so that responses to writes go first. */
  handoverLingerMs: 20,
  /** The time for which a courier may send events before it stores and acknowledges them. */
  handoverHoldMs: 500,
  /** The pause before a courier that did not answer is called again. Doubles from the minimum to the maximum. */
  handoverBackoffMinMs: 1_000,
  handoverBackoffMaxMs: 30_000,
  /** Events that wait at one courier. Above it, the oldest fail. */
  eventsPerEndpoint: 100_000,
  /** The time after which an attempt without a complete response fails. */
  deliveryTimeoutMs: 15_000,
  /** The part of a receiver's response that is read and kept. */
  deliveryAnswerBytes: 1_000,
  /** The rest of an endpoint that does not answer: as long as it has failed, within these bounds. */
  endpointBackoffMinMs: 1_000,
  endpointBackoffMaxMs: 60_000,
  /** The rest of a host after a failure of one of its URLs. Short, because others have URLs there. */
  hostRestMsLeast: 1_000,
  hostRestMsMost: 60_000,
  /** Hosts that rest at the same time. Above it, each URL rests on its own. */
  hostsResting: 1_000,
  /** Endpoints with waiting events that one search for the next handover skips. */
  endpointsPerLook: 1_000,
  /** The duration of an attempt from which on the endpoint counts as slow. */
  deliverySlowMs: 1_000,
  /** Attempts of one endpoint at the same time. */
  deliveriesInFlight: 4,
  /** The pause before each attempt, in ms: 0, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h; with jitter. */
  deliveryPausesMs: [0, 5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 36_000_000],
  /** The time without a success after which a failing endpoint is disabled. */
  endpointFailingMs: 5 * 24 * 60 * 60 * 1_000,
  /** Deliveries that one replay resends. */
  deliveriesPerReplay: 10_000,
  /** The time for which ended deliveries are kept. */
  deliveriesKeptMs: 7 * 24 * 60 * 60 * 1_000,
  /** The longest pause that an endpoint can request by Retry-After. */
  retryAfterMsMaximum: 24 * 60 * 60 * 1_000,
  /** The time after which a disabled target of callbacks gets its next event again, since nobody enables it. */
  callbackDisabledMs: 24 * 60 * 60 * 1_000,
  /** The newest attempts that a delivery keeps. */
  attemptsKeptPerDelivery: 20,
  /** The part of each response that is kept with an attempt. */
  attemptAnswerCharacters: 200,
  /** The bodies of several events in one row of a courier. Each attempt rewrites the row of its event. */
  courierRowBytes: 500_000,
  /** The bodies in the newest row of a courier, up to which the events of the next handover join it. */
  courierTailBytes: 16_000,
  /** Outcomes of attempts that are stored together. After a crash, those not stored are attempted again. */
  attemptsPerSave: 25,
  /** The time for which the outcome of an attempt waits for others, to be stored together. */
  attemptsLingerMs: 50,
  /** Deliveries, and bytes of their bodies, of an older storage that are converted at once. */
  deliveriesConvertedAtOnce: 10_000,
  bytesConvertedAtOnce: 20_000_000,
  /** The storage of a courier. Above it, the oldest ended deliveries are deleted. */
  courierLogBytes: 200_000_000,
  /** The storage of a courier without ended deliveries. Above it, the oldest waiting deliveries fail. */
  courierBytes: 1_000_000_000,
  /** The longest overlap of two secrets after a rotation. */
  secretOverlapMsMaximum: 7 * 24 * 60 * 60 * 1_000,
  /** The overlap of two secrets after a rotation without `overlapMs`. */
  secretOverlapMsDefault: 24 * 60 * 60 * 1_000,
  /** The description of a subscription. */
  descriptionCharacters: 500,
  /** The id of an event. */
  eventIdCharacters: 100,
  /** Deliveries of one page of the log. */
  deliveriesPerPage: 100,
} as const;
