/**
 * The habits and the names that Lockstep has given up. Plain English says *if*, names the thing, says *per*, and uses
 * the field's words; a retired name stays retired, so that one thing has one name.
 */

/** Each habit by its name: how to find it, and what to write instead. */
export const habits = {
  where: { pattern: /\bwhere\b/gi, instead: '"if", or name the place' },
  what: { pattern: /\bwhat(?:ever)?\b(?![^.;:]*\?)/gi, instead: 'name the thing' },
  told: { pattern: /\b(?:re)?(?:tells?|telling|told)\b/gi, instead: '"return", "report", "send"' },
  per: {
    pattern:
      /\b(?:one|two|three) (?!for|in|is|met|of|on|to|was|with)\w+ (?:a|an) \w+|\b(?:once|twice) an? (?!\w+(?:er|ed)\b)\w+/gi,
    instead: '"per"',
  },
  measure: {
    pattern: /\b(?:for so long|so often|so (?:many|much)(?! (?:that|as)\b))\b/gi,
    instead: 'name the measure: "the number of", "the time for which"',
  },
  'left out': { pattern: /\bleft out\b/gi, instead: '"if omitted"' },
  anew: { pattern: /\banew\b/gi, instead: '"again"' },
  'put out': {
    pattern: /\b(?:puts?|putting) (?:\w+ ){0,3}out\b(?! off)/gi,
    instead: '"evict"',
  },
  believe: { pattern: /\bbeliev(?:e|es|ed|ing)\b/gi, instead: '"force-recover", "trust"' },
  owed: { pattern: /\bow(?:e|es|ed|ing)\b/gi, instead: '"queued", "outbox", "unacknowledged"' },
} as const satisfies Readonly<
  Record<string, { readonly pattern: RegExp; readonly instead: string }>
>;

/** Identifiers that were given up, and the names that came in their place. */
export const retiredNames: Readonly<Record<string, string>> = {
  Acquaintance: 'Readiness',
  Callers: 'PendingCalls',
  CoordinatorMethods: 'CoordinatorApi',
  FeedStandIn: 'FakeFeed',
  FeedWorld: 'FeedHarness',
  HookDesk: 'WebhookSubscriptions',
  HookHost: 'SubscriptionsHost',
  HookStorage: 'SubscriptionStorage',
  HooksApi: 'CoordinatorApi',
  LeaseOrder: 'LeaseRequest',
  Lone: 'SingleInstance',
  MarkHistory: 'RoundHistory',
  MemberOrder: 'AdminCommand',
  MissedMarks: 'MissedKeyMap',
  OrderAnswer: 'AdminCommandAnswer',
  OwedBatch: 'OutboxBatch',
  OwedDecisions: 'UnacknowledgedDecisions',
  OwedEvent: 'OutboxEvent',
  OwedRegionEvent: 'OutboxRegionEvent',
  OwedWriteEvent: 'OutboxWriteEvent',
  Patient: 'RegionProbe',
  Practice: 'DoctorInput',
  RegionBook: 'RegionRegistry',
  RegionLook: 'RegionSnapshotRead',
  ReplyOrder: 'ReplySort',
  Rig: 'CoreHarness',
  RigOptions: 'HarnessOptions',
  ScriptBook: 'ScriptLookup',
  ScriptDesk: 'ScriptRegistry',
  StreamPlace: 'StreamOrigin',
  Telling: 'ResponseChanges',
  ToldChange: 'ChangeResponse',
  ToldCheck: 'CheckResponse',
  ToldDiagnosis: 'DiagnosisResponse',
  ToldKey: 'KeyResponse',
  ToldRegion: 'RegionResponse',
  Waking: 'AlarmScheduler',
  WriteTold: 'WriteResponse',
  askCoordinator: 'callCoordinator',
  askCourier: 'callCourier',
  askHooks: 'callCoordinator',
  askMembers: 'callCoordinator',
  believeSchema: 'forceRecoverSchema',
  bytesInUtf8: 'utf8Length',
  copyHoldKeys: 'copyWritePauseKeys',
  copyHoldsCutShort: 'copyWritePausesCutShort',
  feedHeldBytes: 'feedKeptBytes',
  feedHeldChanges: 'feedKeptChanges',
  greetAgain: 'listLocksAgain',
  hasUnsaid: 'hasUnsent',
  holdAfter: 'pauseNotBefore',
  holdUntil: 'pauseUntil',
  isBelieved: 'isForceRecovered',
  isSound: 'isHealthy',
  keepingOn: 'continuingOnError',
  keepsGoing: 'continueOnError',
  leaseWantedMaxMs: 'leaseReadersMaxMs',
  leaseWantedMinMs: 'leaseReadersMinMs',
  oweAll: 'queueDecisionForAll',
  owedEventsOf: 'outboxEventsOf',
  owedTo: 'outboxOf',
  owes: 'hasOutbox',
  retell: 'mapProblem',
  standInFor: 'fakeOf',
  startSpare: 'startExtraRegion',
  tellAnswer: 'presentAnswer',
  tellChange: 'presentChange',
  tellKey: 'presentKey',
  tellLate: 'noteLateAnswer',
  tellRegion: 'presentRegion',
  tellStatus: 'presentStatus',
  toldBy: 'bodyOf',
  toldRegions: 'shownRegions',
};

/** The name of a habit. */
export type Habit = keyof typeof habits;

/** Every habit's name. */
export const habitNames = Object.keys(habits).filter((name): name is Habit => name in habits);

/** Counts a habit in a text. */
export function countHabit(habit: Habit, text: string): number {
  return [...text.matchAll(habits[habit].pattern)].length;
}
