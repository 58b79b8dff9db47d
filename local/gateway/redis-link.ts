/** A gateway's connections to its Redis. */
import { connect, type Socket } from 'node:net';
import { AbstractConnector, Redis, ReplyError } from 'ioredis';
import type { ElementReply, RedisReply, RespCommand } from './protocol.ts';
import { ReplyGuard } from './reply-guard.ts';

/**
 * The region's Redis did not answer: it is not connected, or the connection broke. Commands may or may not have run.
 */
export class RegionUnreachable extends Error {}

/** More requests wait for data than a client should hold connections for. */
export class TooManyBlocked extends Error {}

/** The maximum number of connections for commands that wait, such as XREAD BLOCK. */
const blockedMaximum = 100;

/** Connects as the library does, with a guard between the socket and its parser. */
class GuardedConnector extends AbstractConnector {
  private readonly address: { readonly host: string; readonly port: number };

  constructor(options: unknown) {
    super(2_000);
    this.address = options as GuardedConnector['address'];
  }

  async connect(): Promise<Socket> {
    this.connecting = true;
    const socket = connect(this.address);
    const guard = new ReplyGuard();
    const emit = socket.emit.bind(socket);
    socket.emit = (event: string | symbol, ...given: unknown[]) => {
      const [chunk] = given;
      if (event !== 'data' || !Buffer.isBuffer(chunk)) return emit(event, ...given);
      for (const piece of guard.push(chunk)) emit('data', piece);
      return true;
    };
    socket.once('error', (error) => {
      this.firstError = error;
    });
    this.stream = socket;
    return socket;
  }
}

/** One connection to one Redis, which sends each command at most once, and further ones for commands that wait. */
export class RedisLink {
  private readonly redis: Redis;
  private readonly blocked = new Set<Redis>();

  constructor(port: number) {
    this.redis = new Redis({
      Connector: GuardedConnector,
      host: '127.0.0.1',
      port,
      lazyConnect: true,
      // RESP2 has the types of Upstash's replies, and is the version that the guard parses.
      protocol: 2,
      // Keeps all 64 bits of integers, as text.
      stringNumbers: true,
      // A command must not run after its sender was answered that the region is unreachable.
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      // The embedded server may lack the commands by which clients introduce themselves.
      disableClientInfo: true,
      retryStrategy: (attempt) => Math.min(20 * attempt, 250),
    });
    // Each command in flight reports the failure, and the library reconnects.
    this.redis.on('error', () => {});
  }

  /** Connects. Resolves even if that fails; the library retries until `close`. */
  async connect(): Promise<void> {
    await this.redis.connect().catch(() => {});
  }

  /** Resolves once the connection is ready. */
  async ready(): Promise<void> {
    if (this.redis.status === 'ready') return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.redis.once('ready', resolve);
    await promise;
  }

  close(): void {
    this.redis.disconnect();
    for (const redis of this.blocked) redis.disconnect();
  }

  /**
   * Runs commands, some of which wait, over a connection of their own, since they would block the shared one. `gone`
   * ends it if the client disconnects.
   *
   * @throws RegionUnreachable if a command got no reply; TooManyBlocked if too many requests wait already.
   */
  async pipelineThatWaits(
    commands: readonly RespCommand[],
    gone: AbortSignal,
  ): Promise<readonly ElementReply[]> {
    if (this.blocked.size >= blockedMaximum) {
      throw new TooManyBlocked(`ERR more than ${blockedMaximum} requests wait already`);
    }
    const redis = this.redis.duplicate();
    redis.on('error', () => {});
    this.blocked.add(redis);
    const end = () => redis.disconnect();
    gone.addEventListener('abort', end);
    try {
      await redis.connect().catch(() => {});
      if (gone.aborted) end();
      return await settleAll(commands.map((command) => send(redis, command)));
    } finally {
      gone.removeEventListener('abort', end);
      this.blocked.delete(redis);
      end();
    }
  }

  /**
   * Runs commands one after another, perhaps with other requests' commands in between.
   *
   * @throws RegionUnreachable if a command got no reply.
   */
  async pipeline(commands: readonly RespCommand[]): Promise<readonly ElementReply[]> {
    return settleAll(commands.map((command) => send(this.redis, command)));
  }

  /**
   * Runs commands between MULTI and EXEC. Sends all at once, so that no other command comes in between.
   *
   * @returns one reply per command, or the error with which Redis discarded the transaction.
   *
   * @throws RegionUnreachable if there was no reply.
   */
  async transaction(commands: readonly RespCommand[]): Promise<readonly ElementReply[] | string> {
    const all: readonly RespCommand[] = [['MULTI'], ...commands, ['EXEC']];
    const replies = await settleAll(all.map((command) => send(this.redis, command)));
    const exec = replies.at(-1);
    if (exec === undefined || 'error' in exec) return exec?.error ?? 'ERR no answer to EXEC';
    if (!Array.isArray(exec.result)) return 'EXECABORT Transaction discarded';
    return exec.result.map((reply: RedisReply) =>
      reply instanceof Error ? { error: reply.message } : { result: reply },
    );
  }
}

async function send(redis: Redis, command: RespCommand): Promise<RedisReply> {
  const [name = '', ...args] = command;
  // The library reshapes the replies to lower-case names, such as hgetall, but not those to upper-case names.
  const reply = await redis.callBuffer(String(name).toUpperCase(), args);
  return reply as RedisReply;
}

async function settleAll(sent: readonly Promise<RedisReply>[]): Promise<readonly ElementReply[]> {
  const settled = await Promise.allSettled(sent);
  return settled.map((outcome) => {
    if (outcome.status === 'fulfilled') return { result: outcome.value };
    if (outcome.reason instanceof ReplyError) return { error: outcome.reason.message };
    throw new RegionUnreachable("the region's Redis cannot be reached", { cause: outcome.reason });
  });
}
