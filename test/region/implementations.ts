/** The implementations of a region that have to meet the same claims: the model, redis-server, the embedded server. */
import type { Redis } from 'ioredis';
import type {
  JointResult,
  JointRound,
  JointSnapshotRequest,
  JointSnapshotResult,
} from '../../shared/contracts/joint.ts';
import type {
  Inspection,
  InspectionResult,
  Round,
  RoundResult,
  SnapshotRequest,
  SnapshotResult,
} from '../../shared/contracts/round.ts';
import { dropLock } from '../support/region-state.ts';
import { connectDirectly } from './direct.ts';
import { RegionModel } from './model.ts';
import { encodeReply, type ModelReply } from './replies.ts';
import { startEmbedded, startRedisServer, type TestServer } from './servers.ts';

/** A region under test, with the operations that the claims need. */
export interface Implementation {
  round(round: Round): Promise<RoundResult>;
  joint(round: JointRound): Promise<JointResult>;
  snapshot(request: SnapshotRequest): Promise<SnapshotResult>;
  jointSnapshot(request: JointSnapshotRequest): Promise<JointSnapshotResult>;
  inspect(inspection: Inspection): Promise<InspectionResult>;
  /** Runs a command as a plain client; the reply is JSON as in a part's outcome. */
  run(...args: readonly string[]): Promise<string>;
  /** The messages published since the last call, as `channel message` with one character per byte. */
  published(): Promise<readonly string[]>;
  /** Saves the shard's own state, and returns a function that rolls it back. */
  backup(): Promise<() => Promise<void>>;
  /** Saves everything, and returns a function that goes back to it. */
  backupWhole(): Promise<() => Promise<void>>;
  /** Loses the lock of a key, as no region should. */
  dropLock(key: string): Promise<void>;
  /** Loses everything. */
  wipe(): Promise<void>;
  stop(): Promise<void>;
}

/** Each implementation of a region, by its name. */
export const implementations: readonly (readonly [
  name: string,
  open: () => Promise<Implementation>,
])[] = [
  ['the model', async () => openModel()],
  ['redis-server', () => openRedis(startRedisServer())],
  ['the embedded server', () => openRedis(startEmbedded())],
];

function openModel(): Implementation {
  const model = new RegionModel(() => Date.now());
  return {
    round: async (round) => model.round(round),
    joint: async (round) => model.joint(round),
    snapshot: async (request) => model.snapshot(request),
    jointSnapshot: async (request) => model.jointSnapshot(request),
    inspect: async (inspection) => model.inspect(inspection),
    run: async (...args) => encodeReply(model.run(...args)),
    published: async () =>
      model.published.splice(0).map(({ channel, text }) => `${channel} ${text}`),
    async backup() {
      const state = model.state();
      return async () => model.restore(state);
    },
    async backupWhole() {
      const state = model.state();
      return async () => model.restore(state);
    },
    dropLock: async (key) => model.dropLock(key),
    wipe: async () => model.wipe(),
    stop: async () => {},
  };
}

async function openRedis(starting: Promise<TestServer>): Promise<Implementation> {
  const server = await starting;
  const { redis } = server;
  const listener = await listenerOf(redis);
  const client = connectDirectly(redis);
  return {
    round: (round) => client.round(round, 0),
    joint: (round) => client.joint(round, 0),
    snapshot: (request) => client.snapshot(request, 0),
    jointSnapshot: (request) => client.jointSnapshot(request, 0),
    inspect: (inspection) => client.inspect(0, inspection, 0),
    run: (...args) => runPlainly(redis, args),
    published: () => listener.published(),
    backup: () => backupOf(redis),
    backupWhole: () => wholeBackupOf(redis),
    async dropLock(key) {
      await dropLock(redis, key);
    },
    async wipe() {
      await redis.flushall();
    },
    async stop() {
      listener.stop();
      await server.stop();
    },
  };
}

const statusCommands = new Set(['SET', 'RENAME', 'TYPE']);

/** A message on this channel marks the end of the earlier ones. */
const endChannel = 'the-end-of-all-messages';

/** A subscriber to all channels of a server. */
export async function listenerOf(redis: Redis) {
  const subscriber = redis.duplicate({ autoResubscribe: false });
  let heard: string[] = [];
  let atEnd = () => {};
  subscriber.on('pmessageBuffer', (_pattern, channel: Buffer, message: Buffer) => {
    const name = channel.toString('latin1');
    if (name === endChannel) atEnd();
    else heard.push(`${name} ${message.toString('latin1')}`);
  });
  await subscriber.psubscribe('*');
  return {
    async published(): Promise<readonly string[]> {
      const ended = new Promise<void>((resolve) => {
        atEnd = resolve;
      });
      await redis.publish(endChannel, '');
      await ended;
      const published = heard;
      heard = [];
      return published;
    },
    stop: () => subscriber.disconnect(),
  };
}

/** ioredis does not distinguish a status from a string, so the commands that reply a status are listed. */
async function runPlainly(redis: Redis, args: readonly string[]): Promise<string> {
  const [name = '', ...rest] = args;
  try {
    const reply = plainReply(await redis.callBuffer(name, ...rest));
    const isStatus = typeof reply === 'string' && statusCommands.has(name);
    return encodeReply(isStatus ? { status: reply } : reply);
  } catch (error) {
    return encodeReply({ error: error instanceof Error ? error.message : String(error) });
  }
}

function plainReply(reply: unknown): ModelReply {
  if (Buffer.isBuffer(reply)) return reply.toString('latin1');
  if (typeof reply === 'number' || reply === null) return reply;
  if (Array.isArray(reply)) return reply.map(plainReply);
  throw new Error(`no plain reply: ${String(reply)}`);
}

/** The commands that read a value of each type, and make it again from the reply. */
const makers: Readonly<Record<string, readonly [read: readonly string[], make: string]>> = {
  string: [['GET'], 'SET'],
  hash: [['HGETALL'], 'HSET'],
  set: [['SMEMBERS'], 'SADD'],
};

async function wholeBackupOf(redis: Redis): Promise<() => Promise<void>> {
  const commands: (readonly (string | Buffer)[])[] = [];
  for (const name of await redis.keys('*')) {
    const [[read = ''] = [], make = ''] = makers[await redis.type(name)] ?? [];
    const found = await redis.callBuffer(read, name);
    const values: unknown[] = Array.isArray(found) ? found : [found];
    commands.push([make, name, ...values.filter((each) => Buffer.isBuffer(each))]);
    const expiry = await redis.pexpiretime(name);
    if (expiry >= 0) commands.push(['PEXPIREAT', name, String(expiry)]);
  }
  return async () => {
    await redis.flushall();
    for (const [command = '', ...rest] of commands) await redis.call(String(command), ...rest);
  };
}

async function backupOf(redis: Redis): Promise<() => Promise<void>> {
  const state = await redis.getBuffer('lockstep:0:state');
  const locks = Object.entries(await redis.hgetallBuffer('lockstep:0:lock')).flat();
  return async () => {
    await redis.del('lockstep:0:state', 'lockstep:0:lock');
    if (state !== null) await redis.set('lockstep:0:state', state);
    if (locks.length > 0) await redis.hset('lockstep:0:lock', ...locks);
  };
}
