/** Reads and changes the state that the scripts keep in a region, as no client of Lockstep does. */
import type { Redis } from 'ioredis';

/** The key of the state of shard 0. */
export const stateKey = 'lockstep:0:state';
/** The hash of the locks that have no room in the state. */
export const lockKey = 'lockstep:0:lock';

/** The state of a shard; region-state.lua describes its form. Strings have one character per byte. */
export interface KeptState {
  readonly format: number;
  readonly generation: number;
  readonly epoch: number;
  readonly incarnation: number;
  readonly lowWatermark: string;
  readonly counter: number;
  readonly copyNumber: number;
  readonly hasFarLocks: boolean;
  readonly phase: string;
  readonly history: string;
  readonly settled: string;
  /** The records of the locks in the state, by key. */
  readonly locks: ReadonlyMap<string, string>;
}

/** The state of a voter that has executed no round. */
export const emptyState: KeptState = {
  format: 3,
  generation: 1,
  epoch: 0,
  incarnation: 0,
  lowWatermark: '0.0',
  counter: 0,
  copyNumber: 0,
  hasFarLocks: false,
  phase: '',
  history: ',',
  settled: '',
  locks: new Map(),
};

const headPattern = /^(\d+) (\d+) (\d+) (\d+) (\d+\.\d+) (\d+) (\d+) ([01]) ([^ ]*) (\d+) (\d+)\|/;

/** Reads the state, or returns null if the region has none. */
export async function readState(redis: Redis): Promise<KeptState | null> {
  const found = await redis.getBuffer(stateKey);
  if (found === null) return null;
  const text = found.toString('latin1');
  const head = headPattern.exec(text);
  if (head === null) throw new Error(`not a state: ${text}`);
  const [all, ...fields] = head;
  const [format, generation, epoch, incarnation] = fields.map(Number);
  const [
    ,
    ,
    ,
    ,
    lowWatermark = '',
    counter,
    copyNumber,
    hasFarLocks,
    phase = '',
    history,
    settled,
  ] = fields;
  const second = all.length + Number(history);
  const third = second + Number(settled);
  return {
    format: format ?? 0,
    generation: generation ?? 0,
    epoch: epoch ?? 0,
    incarnation: incarnation ?? 0,
    lowWatermark,
    counter: Number(counter),
    copyNumber: Number(copyNumber),
    hasFarLocks: hasFarLocks === '1',
    phase,
    history: text.slice(all.length, second),
    settled: text.slice(second, third),
    locks: locksOf(text.slice(third)),
  };
}

/** Writes the state. */
export async function writeState(redis: Redis, state: KeptState): Promise<void> {
  const locks = [...state.locks].map(
    ([key, record]) => `${key.length} ${record.length} ${key}${record}`,
  );
  const numbers = [
    state.format,
    state.generation,
    state.epoch,
    state.incarnation,
    state.lowWatermark,
  ];
  const rest = [state.counter, state.copyNumber, Number(state.hasFarLocks), state.phase];
  const sizes = [state.history.length, state.settled.length];
  const head = `${[...numbers, ...rest, ...sizes].join(' ')}|`;
  const text = `${head}${state.history}${state.settled}${locks.join('')}`;
  await redis.set(stateKey, Buffer.from(text, 'latin1'));
}

/** Changes some fields of the state, which the region must have. */
export async function changeState(redis: Redis, changed: Partial<KeptState>): Promise<void> {
  const state = await readState(redis);
  if (state === null) throw new Error('the region has no state');
  await writeState(redis, { ...state, ...changed });
}

/** The records of all locks, by key. */
export async function readLocks(redis: Redis): Promise<ReadonlyMap<string, string>> {
  const near = (await readState(redis))?.locks ?? new Map();
  const far = await farLocks(redis);
  return new Map([...near, ...far]);
}

async function farLocks(redis: Redis): Promise<ReadonlyMap<string, string>> {
  const flat: unknown = await redis.callBuffer('HGETALL', lockKey);
  const texts = Array.isArray(flat) ? flat.map((each: Buffer) => each.toString('latin1')) : [];
  const locks = new Map<string, string>();
  for (let at = 0; at < texts.length; at += 2) locks.set(texts[at] ?? '', texts[at + 1] ?? '');
  return locks;
}

/** Loses the lock of a key, as no region should. */
export async function dropLock(redis: Redis, key: string): Promise<void> {
  await redis.hdel(lockKey, key);
  const state = await readState(redis);
  if (state === null) return;
  const locks = new Map(state.locks);
  locks.delete(key);
  await writeState(redis, { ...state, locks });
}

function locksOf(text: string): ReadonlyMap<string, string> {
  const locks = new Map<string, string>();
  let at = 0;
  while (at < text.length) {
    const [head = '', keyLength, recordLength] = /^(\d+) (\d+) /.exec(text.slice(at)) ?? [];
    if (head === '') throw new Error(`not the locks of a state: ${text}`);
    const second = at + head.length + Number(keyLength);
    const end = second + Number(recordLength);
    locks.set(text.slice(at + head.length, second), text.slice(second, end));
    at = end;
  }
  return locks;
}
