/** An edge over fakes of the coordinator, the couriers, the feed and the regions. */

import { createApp } from '../../functions/edge/app.ts';
import { RememberedMap } from '../../functions/edge/cache/known-map.ts';
import type {
  EdgeDependencies,
  Feed,
  FeedEvent,
  FollowQuery,
  Location,
} from '../../functions/edge/http/dependencies.ts';
import type { Configuration } from '../../shared/config/configuration.ts';
import type {
  CoordinatorApi,
  CoordinatorStatus,
  WriteAnswer,
  WriteRecord,
  WriteRequest,
} from '../../shared/contracts/coordinator.ts';
import type { RegionStatus } from '../../shared/contracts/members.ts';
import type { ReadableRegion } from '../../shared/contracts/region-client.ts';
import type {
  CommandResult,
  Inspection,
  InspectionResult,
  ReadCommand,
  SnapshotRequest,
  SnapshotResult,
} from '../../shared/contracts/round.ts';
import type { CourierApi } from '../../shared/contracts/webhooks-and-feed.ts';
import type { ShardId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { initialMap, type ShardMap } from '../../shared/shards/shard-map.ts';
import { slotCount } from '../../shared/shards/slots.ts';
import { repliesOfJson } from '../region/replies.ts';

export const tokens = {
  read: `read-${'r'.repeat(32)}`,
  write: `write-${'w'.repeat(32)}`,
  admin: `admin-${'a'.repeat(32)}`,
} as const;

/** A token that reads, also by scripts. */
export const scriptedToken = `scripted-${'s'.repeat(32)}`;

export const regionIds = ['us-east-1', 'eu-west-1', 'ap-northeast-1'] as const;

export const writeId = '0-01990a5c-7d3e-7c1a-9b64-2f0d8a51c7e2';

export const configuration: Configuration = {
  regions: [
    {
      id: 'us-east-1',
      url: 'https://use1.example.com/secret',
      token: 't1',
      location: [38.9, -77.4],
    },
    { id: 'eu-west-1', url: 'https://euw1.example.com', token: 't2', location: [53.3, -6.3] },
    {
      id: 'ap-northeast-1',
      url: 'https://apne1.example.com',
      token: 't3',
      location: [35.7, 139.7],
    },
  ],
  tokens: [
    { id: 'reader', token: tokens.read, scope: 'read', scripts: false },
    { id: 'scripted', token: scriptedToken, scope: 'read', scripts: true },
    { id: 'writer', token: tokens.write, scope: 'write', scripts: true },
    { id: 'operator', token: tokens.admin, scope: 'admin', scripts: true },
  ],
  coordinatorLocation: null,
  voteDeadlineMs: 2_000,
  roundTimeoutMs: 2_500,
  readTimeoutMs: 2_500,
  source: null,
  shards: 1,
  minVoters: 2,
  outAfterMs: 3_000,
  retention: { keptMs: 60_000, keptWrites: 100, keptBytes: 1_000_000_000, keysKeptMs: 3_600_000 },
};

/** A voter that answers, with `changes`. */
export function statusOf(region: string, changes: Partial<RegionStatus> = {}): RegionStatus {
  return {
    region,
    state: 'voter',
    cause: null,
    held: false,
    since: null,
    health: 'answering',
    circuit: 'closed',
    detail: null,
    generation: 7,
    leaseMs: 4_000,
    roundTripMs: 3,
    roundsInFlight: 0,
    unacknowledged: 0,
    oldestUnacknowledgedMs: null,
    missedKeys: 0,
    copy: null,
    ...changes,
  };
}

/** The state of a shard with these regions; the others are voters that answer. */
export function statusWith(
  changes: Readonly<Record<string, Partial<RegionStatus>>> = {},
): CoordinatorStatus {
  return {
    shard: 0,
    incarnation: 1,
    epoch: 1,
    sequence: 0,
    slots: { phase: 'known', version: 1, count: slotCount, of: slotCount },
    minVoters: 2,
    held: false,
    founding: null,
    blockedKeys: 0,
    queued: 0,
    undecided: 0,
    regions: regionIds.map((region) => statusOf(region, changes[region])),
  };
}

export const coordinatorStatus: CoordinatorStatus = statusWith();

/** A record of a write that was committed with one result, with `changes`. */
export function recordOf(changes: Partial<WriteRecord> = {}): WriteRecord {
  return {
    id: writeId,
    outcome: 'committed',
    transaction: '0.1.1',
    sequence: 1,
    part: '[0,{"s":"OK"}]',
    votes: regionIds.map((region) => ({ region, vote: 'yes', ms: 2, reason: null })),
    decidedAt: 1_795_000_000_000,
    attempts: 1,
    appliedIn: [],
    ms: 3,
    ...changes,
  };
}

/** The answer to a write that was decided. */
export function decided(changes: Partial<WriteRecord> = {}, replayed = false): WriteAnswer {
  return { kind: 'decided', record: recordOf(changes), replayed };
}

/** A snapshot's answer: the replies as JSON, and the sequences of the transactions that lock the first key. */
export function read(replies: string, ...holders: readonly number[]): SnapshotResult {
  const locks = holders.map((sequence) => ({ key: 'k', holder: [1, sequence] as const }));
  return { kind: 'read', replies: repliesOfJson(replies), locks };
}

export interface Question {
  readonly token?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  /** A string or bytes are sent unchanged, any other value as JSON. */
  readonly body?: unknown;
}

export interface EdgeResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly json: Readonly<Record<string, unknown>>;
}

/** A call of a fake: the object, the method, and the arguments. */
export type Call = readonly [object: string, method: string, ...args: readonly unknown[]];

/** A feed that sends `messages` in order; after that its connection closes with `code`. */
export class FakeFeed implements Feed {
  readonly followed: FollowQuery[] = [];
  readonly acknowledged: number[] = [];
  readonly #events: FeedEvent[];
  readonly #closing = Promise.withResolvers<void>();

  constructor(messages: readonly unknown[] = [], code: number | null = 1_000) {
    const texts = messages.map((message) =>
      typeof message === 'string' ? message : JSON.stringify(message),
    );
    this.#events = texts.map((text) => ({ kind: 'message', text }));
    // Without a code it stays open and silent.
    if (code !== null) this.#events.push({ kind: 'closed', code, reason: '' });
  }

  /** Fulfilled once the edge has closed its connection. */
  get closed(): Promise<void> {
    return this.#closing.promise;
  }

  async upgrade(query: FollowQuery) {
    this.followed.push(query);
    return new Response('upgraded');
  }

  async open(query: FollowQuery) {
    this.followed.push(query);
    return {
      next: () => {
        const event = this.#events.shift();
        return event === undefined ? new Promise<FeedEvent>(() => {}) : Promise.resolve(event);
      },
      acknowledge: (next: number) => void this.acknowledged.push(next),
      close: () => this.#closing.resolve(),
    };
  }
}

/** The methods that every coordinator here has. Their calls are not recorded. */
type DefaultMethods = Pick<
  CoordinatorApi,
  | 'write'
  | 'writeAll'
  | 'writeGathered'
  | 'accept'
  | 'recall'
  | 'status'
  | 'resolve'
  | 'describe'
  | 'read'
  | 'regions'
  | 'attend'
>;

/** A fake of an object with the methods `given`. Records the calls of all but `unrecorded` methods; any other method fails. */
function fakeOf<Api extends object>(
  name: string,
  given: Partial<Api>,
  calls: Call[],
  unrecorded: readonly string[] = [],
): Api {
  const handler: ProxyHandler<Partial<Api>> = {
    get: (target, method) => {
      const implementation: unknown = Reflect.get(target, method);
      return async (...args: readonly unknown[]) => {
        if (!unrecorded.includes(String(method))) calls.push([name, String(method), ...args]);
        if (typeof implementation !== 'function') throw new Error(`no ${String(method)} expected`);
        return implementation(...args);
      };
    },
  };
  return new Proxy(given, handler) as Api;
}

/** An edge over fakes. A call of a method that the test did not give fails; `calls` lists the calls. */
export class EdgeUnderTest {
  readonly writes: WriteRequest[] = [];
  /** The number of writes in each call of `writeAll`. */
  readonly batches: number[] = [];
  /** The same of `writeGathered`. */
  readonly gathered: number[] = [];
  readonly snapshots: { readonly region: string; readonly request: SnapshotRequest }[] = [];
  readonly logged: string[] = [];
  /** Calls of couriers, and of the coordinator except for writes, reads, and the regions' state. */
  readonly calls: Call[] = [];
  /** A region's answers to inspections and plain commands of operators. */
  inspect: (region: string, inspection: Inspection) => InspectionResult = notExpected;
  run: (region: string, command: readonly string[]) => CommandResult = notExpected;
  /** Regions that never answer snapshots, each with a callback for every snapshot. */
  readonly hanging = new Map<string, () => void>();
  /** The regions for which the edge requested leases. */
  readonly wanted: string[] = [];
  /** The pauses that the edge made, ms. */
  readonly pauses: number[] = [];
  now = 1_795_000_000_000;
  /** A region's answers to subscriptions. */
  subscribe: EdgeDependencies['subscribe'] = async ({ id }) => notExpected(id);
  /** Fulfilled when the heartbeat of a stream is due; never by default. */
  beat: () => Promise<void> = () => new Promise(() => {});
  /** Fulfilled in the next turn of the event loop, until which calls that are shared wait. */
  turn: () => Promise<void> = async () => {};
  /** True for commands that may share a snapshot. */
  isShort: (commands: readonly ReadCommand[]) => boolean = () => true;
  /** Answers a region's snapshots; by default with `regions`. */
  snapshot: (region: string, request: SnapshotRequest) => Promise<SnapshotResult> = (id, request) =>
    this.#snapshot(id, request);
  /** The same for snapshots of short strings. */
  shortSnapshot: (region: string, request: SnapshotRequest) => Promise<SnapshotResult | null> = (
    id,
    request,
  ) => this.#snapshot(id, request);
  readonly #waits: (() => void)[] = [];
  /** Waits with a timeout, which ends only by {@link endWaits}. */
  withTimeout = <Value>(promise: Promise<Value>): Promise<Value> => {
    const late = new Promise<never>((_, reject) => {
      this.#waits.push(() => reject(new Error('no answer in time')));
    });
    return Promise.race([promise, late]);
  };
  readonly #background: Promise<void>[] = [];
  courier: Partial<CourierApi> = {};
  feed: Feed = new FakeFeed();
  allowLoopback = false;
  location: Location | null = null;
  coordinator: Partial<CoordinatorApi>;
  /** The methods that the coordinator of a shard has instead of those of `coordinator`. */
  readonly ofShard = new Map<ShardId, Partial<CoordinatorApi>>();
  /** The registry's answer, and how often it was asked. */
  registry: () => Promise<ShardMap> = async () => initialMap(this.#shards);
  registryCalls = 0;
  readonly #shards: number;
  /** The results of each region's snapshots, in order; the last one is repeated. */
  regions: Record<string, readonly SnapshotResult[]>;
  readonly app: ReturnType<typeof createApp>;

  constructor(
    coordinator: Partial<CoordinatorApi> = {},
    regions: Record<string, readonly SnapshotResult[]> = {},
    shards = 1,
  ) {
    this.#shards = shards;
    this.coordinator = { ...coordinator };
    this.regions = regions;
    this.app = createApp(this.#dependencies());
  }

  async ask(method: string, path: string, question: Question = {}): Promise<EdgeResponse> {
    const { token = tokens.write, headers = {}, body } = question;
    const isRaw = typeof body === 'string' || body instanceof Uint8Array;
    const response = await this.app.request(path, {
      method,
      headers: {
        ...(token !== null && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: isRaw ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const type = response.headers.get('content-type') ?? '';
    const isJson = type.includes('json') && text !== '';
    const { status } = response;
    return { status, headers: response.headers, text, json: isJson ? JSON.parse(text) : {} };
  }

  /** A GET of a target without normalization, as in workerd: a Request made here would resolve its dots. */
  async askRaw(target: string): Promise<Response> {
    const request = new Request('http://localhost/', {
      headers: { authorization: `Bearer ${tokens.write}` },
    });
    Object.defineProperty(request, 'url', { value: `http://localhost${target}` });
    return this.app.fetch(request);
  }

  /** Fulfilled once the background work of all requests is done. */
  async settled(): Promise<void> {
    while (this.#background.length > 0) await this.#background.shift();
  }

  /** Ends all waiting with a timeout, as after a long time. */
  endWaits(): void {
    for (const end of this.#waits.splice(0)) end();
  }

  write(body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<EdgeResponse> {
    return this.ask('POST', '/v1/writes', { body, headers });
  }

  #dependencies(): EdgeDependencies {
    let uuids = 0;
    const allowLoopback = () => this.allowLoopback;
    return {
      configuration: { ...configuration, shards: this.#shards },
      shards: this.#rememberedMap(),
      targetPolicy: {
        get allowLoopback() {
          return allowLoopback();
        },
        ownHosts: ['lockstep.example.com'],
        allowedHosts: [],
      },
      courierOf: (endpoint) => fakeOf<CourierApi>(endpoint, this.courier, this.calls),
      feedOf: () => this.feed,
      coordinatorOf: (shard) => this.#coordinator(this.ofShard.get(shard)),
      regionOf: ({ id }) => this.#region(id),
      locate: () => this.location,
      inBackground: (_context, work) => void this.#background.push(work),
      subscribe: (region, subscription) => this.subscribe(region, subscription),
      withTimeout: (promise) => this.withTimeout(promise),
      pause: async (ms) => {
        if (ms === 0) return this.turn();
        this.pauses.push(ms);
        if (ms >= limits.heartbeatMs) await this.beat();
      },
      asset: async (path) => new Response(`asset ${path}`),
      now: () => this.now,
      uuid() {
        uuids += 1;
        return `01990a5c-7d3e-7c1a-9b64-${String(uuids).padStart(12, '0')}`;
      },
      log: (message) => this.logged.push(message),
    };
  }

  #rememberedMap(): RememberedMap {
    const map = () => {
      this.registryCalls += 1;
      return this.registry();
    };
    const dependencies = {
      log: (message: string) => void this.logged.push(message),
      withTimeout: <Value>(promise: Promise<Value>) => this.withTimeout(promise),
    };
    return new RememberedMap(this.#shards, { map }, dependencies);
  }

  #coordinator(own: Partial<CoordinatorApi> = {}): CoordinatorApi {
    const unexpected = async () => {
      throw new Error('no call of the coordinator is expected');
    };
    const standing: DefaultMethods = {
      write: unexpected,
      writeAll: (requests) => Promise.all(requests.map((request) => given.write(request))),
      writeGathered: async (requests) =>
        Promise.all(requests.map(async (request, at) => [at, await given.write(request)] as const)),
      accept: unexpected,
      recall: async (requests) => requests.map(() => null),
      status: unexpected,
      resolve: unexpected,
      describe: async () => coordinatorStatus,
      read: async () => ({ kind: 'unavailable', faults: [] }),
      regions: async () => configuration.regions,
      attend: async (wishes) => {
        this.wanted.push(...wishes.map(({ region }) => region));
        return { regions: await given.regions(), status: await given.describe() };
      },
    };
    const given = { ...standing, ...this.coordinator, ...own };
    const noted = (call: CoordinatorApi['write']) => (request: WriteRequest) => {
      this.writes.push(request);
      return call(request);
    };
    const writeAll = async (requests: readonly WriteRequest[]) => {
      this.batches.push(requests.length);
      this.writes.push(...requests);
      return given.writeAll(requests);
    };
    const writeGathered: CoordinatorApi['writeGathered'] = async (requests, give) => {
      this.gathered.push(requests.length);
      this.writes.push(...requests);
      return given.writeGathered(requests, give);
    };
    const [write, accept] = [noted(given.write), noted(given.accept)];
    const methods = { ...given, write, writeAll, writeGathered, accept };
    return fakeOf<CoordinatorApi>('coordinator', methods, this.calls, Object.keys(standing));
  }

  async #snapshot(id: string, request: SnapshotRequest): Promise<SnapshotResult> {
    const hang = this.hanging.get(id);
    if (hang !== undefined) {
      hang();
      return new Promise<SnapshotResult>(() => {});
    }
    const asked = this.snapshots.filter(({ region }) => region === id).length;
    this.snapshots.push({ region: id, request });
    const results = this.regions[id] ?? [];
    const result = results[Math.min(asked, results.length - 1)];
    if (result === undefined) throw new Error(`no snapshot in ${id} is expected`);
    return result;
  }

  #region(id: string): ReadableRegion {
    return {
      round: async () => ({ kind: 'silent', reason: 'the edge sends no rounds' }),
      joint: async () => ({ kind: 'silent', reason: 'the edge sends no rounds' }),
      jointSnapshot: async () => ({ kind: 'silent', reason: 'no shards are joined here' }),
      snapshot: (request) => this.snapshot(id, request),
      isShort: (commands) => this.isShort(commands),
      shortSnapshot: (request) => this.shortSnapshot(id, request),
      inspect: async (_shard, inspection) => this.inspect(id, inspection),
      run: async (command) => this.run(id, command),
    };
  }
}

function notExpected(region: string): never {
  throw new Error(`no call of ${region} is expected`);
}

/** The last segment of a problem's type. */
export function problemOf(response: EdgeResponse): string {
  return String(response.json.type).replace('/problems/', '');
}
