/** Starts a plain Redis behind a plain gateway. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { type Gateway, startGateway } from '../../../local/gateway/gateway.ts';
import { placesFor } from '../../../local/gateway/round-trips.ts';
import { redisKind, startRegion } from '../../../local/stack/regions.ts';
import { connectTo } from '../redis.ts';

/** One plain Redis behind one plain gateway, for comparison with Lockstep. */
export interface PlainRedis {
  readonly url: string;
  readonly token: string;
  /** A direct client of the Redis, past the gateway. */
  readonly client: Redis;
  /** The replies of the Redis to commands over its own protocol, with one character per byte. */
  say(commands: readonly (readonly string[])[]): Promise<string>;
  stop(): Promise<void>;
}

/** Starts it on free ports, empty. */
export async function startPlainRedis(): Promise<PlainRedis> {
  const [place] = placesFor(1);
  if (place === undefined) throw new Error('there is a first place');
  const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-plain-'));
  const region = await startRegion(place, stateDirectory, redisKind());
  const token = 'token-of-the-plain-gateway';
  const gateway: Gateway = await startGateway({ redisPort: region.port, token, roundTripMs: 0 });
  await gateway.ready();
  const client = connectTo(region.port);
  return {
    url: gateway.url,
    token,
    client,
    say: (commands) => say(region.port, commands),
    async stop() {
      client.disconnect();
      await gateway.close();
      await region.stop();
      rmSync(stateDirectory, { recursive: true });
    },
  };
}

/** No other reply equals this, so that it marks the end of the others. */
const end = 'the-end-of-all-replies';

async function say(port: number, commands: readonly (readonly string[])[]): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write(Buffer.concat([...commands, ['ECHO', end]].map(encoded)));
  const echo = `$${end.length}\r\n${end}\r\n`;
  let text = '';
  for await (const chunk of socket) {
    text += Buffer.from(chunk).toString('latin1');
    if (text.endsWith(echo)) break;
  }
  socket.destroy();
  return text.slice(0, -echo.length);
}

function encoded(command: readonly string[]): Buffer {
  const parts = command.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`);
  return Buffer.from(`*${command.length}\r\n${parts.join('')}`);
}
