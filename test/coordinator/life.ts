import { CoordinatorLife, type LifeEnvironment } from '../../functions/coordinator/coordinator.ts';
import type { CoordinatorApi } from '../../shared/contracts/coordinator.ts';
import { type RpcTarget, remote, serveCall } from '../../shared/contracts/rpc.ts';
import { initialMap } from '../../shared/shards/shard-map.ts';
import { newSigningKey } from '../courier/keys.ts';
import type { MemoryStorage } from './sqlite.ts';

/** Regions without a server: the calls of these tests need none. */
const regions = ['alpha', 'beta'].map((id, index) => ({
  id,
  url: `http://127.0.0.1:${index + 1}`,
  location: [0, index],
}));

const nobody: LifeEnvironment['FEED'] = {
  getByName: () => ({
    call: async () => ({ kind: 'unfit', detail: 'there is no such object here' }),
  }),
};

/** A registry whose map has one shard. */
const registry: LifeEnvironment['REGISTRY'] = {
  getByName: () => ({
    call: async () => ({ kind: 'answered', value: initialMap(1) }),
  }),
};

const token = (scope: string) => ({ token: `${scope}-${'x'.repeat(32)}`, scope });

/** The environment of a coordinator, with further `variables`. */
export function environmentWith(variables: Readonly<Record<string, string>>): LifeEnvironment {
  const given = {
    COURIER: nobody,
    FEED: nobody,
    REGISTRY: registry,
    LOCKSTEP_REGIONS: JSON.stringify(regions),
    LOCKSTEP_REGION_TOKENS: JSON.stringify({ alpha: 'a', beta: 'b' }),
    LOCKSTEP_TOKENS: JSON.stringify([token('read'), token('write')]),
    ...variables,
  };
  return given;
}

/** An instance of a coordinator on `storage`, called as other objects call it. */
export class LifeUnderTest {
  readonly life: CoordinatorLife;
  readonly target: RpcTarget;
  readonly methods: CoordinatorApi;
  /** The times for which it has set alarms, ms. */
  readonly alarms: number[] = [];
  /** Why the instance has ended itself, if it has. */
  ended: string | null = null;

  constructor(
    storage: MemoryStorage,
    variables: Readonly<Record<string, string>> = {},
    feed: LifeEnvironment['FEED'] = nobody,
    registryOf: LifeEnvironment['REGISTRY'] = registry,
  ) {
    const setAlarm = async (at: number) => void this.alarms.push(at);
    const context = {
      shard: 0,
      storage: Object.assign(storage, { setAlarm }),
      abort: (reason: string) => {
        this.ended = reason;
      },
      newSigningKey: async () => newSigningKey(),
    };
    const environment = { ...environmentWith(variables), FEED: feed, REGISTRY: registryOf };
    const life = new CoordinatorLife(context, environment);
    this.life = life;
    this.target = { call: (call) => serveCall(life.served, life.storage, call) };
    this.methods = remote(() => this.target);
  }
}
