/** The bare Worker: it carries out operations as systems other than Lockstep do, on the same regions. */
import { bare } from './bare.ts';
import type { PeerAnswer, PeerOperation, PeerServers } from './contract.ts';
import { etcd } from './etcd.ts';
import { primaryWithWait } from './primary.ts';
import { redlock } from './redlock.ts';
import { twoPhase } from './two-phase.ts';

interface Context {
  waitUntil(work: Promise<unknown>): void;
}

type System = (
  servers: PeerServers,
  operation: PeerOperation,
  later: (work: Promise<unknown>) => void,
) => Promise<PeerAnswer>;

const systems: Readonly<Record<string, System>> = {
  bare,
  'two-phase': twoPhase,
  redlock,
  primary: primaryWithWait,
  etcd: (servers, operation) => etcd(servers, operation, false),
  'etcd-serializable': (servers, operation) => etcd(servers, operation, true),
};

let servers: PeerServers | null = null;

/** The handler of the Worker. The path names the system; `/nothing` answers at once. */
const worker = {
  async fetch(
    request: Request,
    environment: { readonly SERVERS: string },
    context: Context,
  ): Promise<Response> {
    const system = new URL(request.url).pathname.slice(1);
    if (system === 'nothing') return new Response('{}');
    servers ??= JSON.parse(environment.SERVERS) as PeerServers;
    const operation: PeerOperation = JSON.parse(await request.text());
    try {
      const carryOut = systems[system];
      if (carryOut === undefined) throw new Error(`there is no system named ${system}`);
      const later = (work: Promise<unknown>) => context.waitUntil(work);
      return new Response(JSON.stringify(await carryOut(servers, operation, later)));
    } catch (error) {
      return new Response(String(error), { status: 500 });
    }
  },
};

export default worker;
