import { Redis, ReplyError } from 'ioredis';
import type { Command, ElementReply, RedisReply } from './gateway-protocol.ts';

/** The region's Redis gave no answer: it is not connected, or went away in between. Commands may or may not have run. */
export class RegionUnreachable extends Error {}

/** One connection to one Redis, over which commands are sent at most once. */
export class RedisLink {
  private readonly redis: Redis;

  constructor(port: number) {
    this.redis = new Redis({
      host: '127.0.0.1',
      port,
      lazyConnect: true,
      // Keeps all 64 bits of an integer, as text.
      stringNumbers: true,
      // A command must not run after its sender was told that the region is away.
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      // The embedded server may not know the commands with which a client introduces itself.
      disableClientInfo: true,
      retryStrategy: (attempt) => Math.min(20 * attempt, 250),
    });
    // Each command in flight reports the failure by itself, and the connection is tried again by itself.
    this.redis.on('error', () => {});
  }

  /** Connects. Resolves even where that fails: the connection is tried again until `close`. */
  async connect(): Promise<void> {
    await this.redis.connect().catch(() => {});
  }

  /** Resolves once the connection is up. */
  async ready(): Promise<void> {
    if (this.redis.status === 'ready') return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.redis.once('ready', resolve);
    await promise;
  }

  close(): void {
    this.redis.disconnect();
  }

  /**
   * Runs commands one after another; others may come in between.
   *
   * @throws RegionUnreachable where one of them got no answer.
   */
  async pipeline(commands: readonly Command[]): Promise<readonly ElementReply[]> {
    return settleAll(commands.map((command) => this.send(command)));
  }

  /**
   * Runs commands between MULTI and EXEC. All are handed to the connection in one turn, so that nothing comes between.
   *
   * @returns one reply a command, or the error with which Redis discarded the transaction.
   * @throws RegionUnreachable where there was no answer.
   */
  async transaction(commands: readonly Command[]): Promise<readonly ElementReply[] | string> {
    const all: readonly Command[] = [['MULTI'], ...commands, ['EXEC']];
    const replies = await settleAll(all.map((command) => this.send(command)));
    const exec = replies.at(-1);
    if (exec === undefined || 'error' in exec) return exec?.error ?? 'ERR no answer to EXEC';
    if (!Array.isArray(exec.result)) return 'EXECABORT Transaction discarded';
    return exec.result.map((reply: RedisReply) =>
      reply instanceof Error ? { error: reply.message } : { result: reply },
    );
  }

  private async send(command: Command): Promise<RedisReply> {
    const [name = '', ...args] = command;
    // The library reshapes the replies of names in lower case, such as hgetall's. In upper case they come as they are.
    const reply = await this.redis.callBuffer(String(name).toUpperCase(), args);
    return reply as RedisReply;
  }
}

async function settleAll(sent: readonly Promise<RedisReply>[]): Promise<readonly ElementReply[]> {
  const settled = await Promise.allSettled(sent);
  return settled.map((outcome) => {
    if (outcome.status === 'fulfilled') return { result: outcome.value };
    if (outcome.reason instanceof ReplyError) return { error: outcome.reason.message };
    throw new RegionUnreachable("the region's Redis cannot be reached", { cause: outcome.reason });
  });
}
