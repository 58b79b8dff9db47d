/** Starts a region that a test can add to its stack. */
import { type Gateway, startGateway } from '../../../local/gateway/gateway.ts';
import { placesFor } from '../../../local/gateway/round-trips.ts';
import { redisKind, startRegion } from '../../../local/stack/regions.ts';
import { connectTo } from '../redis.ts';
import type { TestRegion, TestStack } from './stack.ts';

/** A region in addition to those of a stack, unknown to its Worker. */
export interface ExtraRegion extends TestRegion {
  /** The body that adds it. */
  readonly addition: Addition;
  stop(): Promise<void>;
}

/** The body of `POST /v1/admin/regions`. */
export interface Addition {
  readonly id: string;
  readonly url: string;
  readonly token: string;
  readonly location: readonly [number, number];
}

/** Starts a region in addition to those of `stack`. Its data are in the stack's directory. Stop it before the stack. */
export async function startExtraRegion(stack: TestStack): Promise<ExtraRegion> {
  const place = placesFor(stack.regions.length + 1).at(-1);
  if (place === undefined) throw new Error('there is no further place');
  const redis = await startRegion(place, stack.stateDirectory, redisKind());
  const token = 'the-token-of-an-extra-region';
  const gateway = await startGateway({ redisPort: redis.port, token, roundTripMs: 0 });
  const client = connectTo(redis.port);
  client.on('error', () => {});
  const region = { place, redis, gateway, id: place.id, client };
  return {
    ...region,
    addition: additionOf(place, gateway),
    stop: async () => {
      client.disconnect();
      await gateway.close();
      await redis.stop();
    },
  };
}

/** The body that adds a region of a stack again. */
export function additionOf(place: TestRegion['place'], { url, token }: Gateway): Addition {
  return { id: place.id, url, token, location: place.location };
}
