/** The actions of the playground on regions. */
import type { Line } from '../gateway/faults.ts';
import { wholeLine } from '../gateway/faults.ts';
import type { StackRegion } from '../stack/stack.ts';
import type { RegionAction } from './keys.ts';
import { slowDownMs } from './keys.ts';

/**
 * Performs an action on a region.
 *
 * @returns the result, as the end of a sentence about the region.
 *
 * @throws Error with a message for users if it is impossible.
 */
export function performAction(action: RegionAction, region: StackRegion): Promise<string> {
  return regionActions[action](region);
}

const regionActions: Readonly<Record<RegionAction, (region: StackRegion) => Promise<string>>> = {
  'stop-or-start': async (region) => {
    if (region.redis.condition === 'stopped') return start(region);
    await region.redis.stop();
    return 'stopped';
  },
  kill: async ({ redis }) => {
    if (redis.condition === 'stopped') return 'was not running';
    await redis.kill();
    return 'killed';
  },
  restart: start,
  wipe: async ({ redis }) => {
    await redis.wipe();
    return 'wiped, and started empty';
  },
  snapshot: async ({ redis }) => {
    await redis.snapshot();
    return 'has a snapshot of its current data';
  },
  'roll-back': async ({ redis }) => {
    await redis.rollback();
    return 'rolled back: started on its snapshot, later writes are lost';
  },
  'slow-down': async ({ gateway }) => {
    const slowMs = gateway.faults.line.slowMs === 0 ? slowDownMs : 0;
    gateway.faults.setLine({ slowMs });
    return slowMs === 0 ? 'at its usual speed again' : `slowed down by ${slowMs} ms`;
  },
  'cut-off': async (region) => toggleReach(region, 'cut', 'cut off: no request arrives'),
  'lose-answers': async (region) =>
    toggleReach(region, 'answers-lost', 'its responses are lost: requests arrive and run'),
  pause: async ({ redis }) => {
    if (redis.condition === 'stopped') return 'was not running';
    if (redis.condition === 'paused') {
      redis.resume();
      return 'resumed';
    }
    redis.pause();
    return 'paused';
  },
};

async function start({ redis }: StackRegion): Promise<string> {
  await redis.restart();
  return redis.kind === 'embedded' ? 'started empty' : 'started on the data it had';
}

function toggleReach({ gateway }: StackRegion, reach: Line['reach'], done: string): string {
  const isOn = gateway.faults.line.reach === reach;
  gateway.faults.setLine({ reach: isOn ? wholeLine.reach : reach });
  return isOn ? 'reconnected' : done;
}
