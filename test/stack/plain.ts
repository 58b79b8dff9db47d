import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { type Gateway, startGateway } from '../../local/gateway.ts';
import { redisKind, startRegion } from '../../local/regions.ts';
import { placesFor } from '../../local/rtt.ts';

/** One plain Redis behind one plain gateway: what Lockstep is compared with. */
export interface PlainRedis {
  readonly url: string;
  readonly token: string;
  /** Straight to the Redis, past the gateway. */
  readonly client: Redis;
  stop(): Promise<void>;
}

/** Starts it on free ports, with nothing in it. */
export async function startPlainRedis(): Promise<PlainRedis> {
  const [place] = placesFor(1);
  if (place === undefined) throw new Error('there is a first place');
  const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-plain-'));
  const region = await startRegion(place, stateDirectory, redisKind());
  const token = 'token-of-the-plain-gateway';
  const gateway: Gateway = await startGateway({ redisPort: region.port, token, roundTripMs: 0 });
  await gateway.ready();
  const client = new Redis(region.port, '127.0.0.1');
  return {
    url: gateway.url,
    token,
    client,
    async stop() {
      client.disconnect();
      await gateway.close();
      await region.stop();
      rmSync(stateDirectory, { recursive: true });
    },
  };
}
