import { createServer } from 'node:http';
import { connectRegion } from '../../functions/region/client.ts';
import { part, prepareOf, roundOf, set } from '../region/fixtures.ts';
import { Random } from './random.ts';

const token = 'token of a run';
const timeoutMs = 5_000;

let requests = 0;
let fault: 'cut' | 'half' | 'status' = 'cut';

/** A region that has run the round, but whose answer is lost in one way or another. */
const server = createServer((request, response) => {
  request.resume().once('end', () => {
    requests += 1;
    if (fault === 'cut') request.socket.destroy();
    else if (fault === 'half') response.write('{"result":', () => request.socket.destroy());
    else response.writeHead(503).end();
  });
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const address = server.address();
const port = typeof address === 'object' && address !== null ? address.port : 0;

/** Ends the server. */
export async function end(): Promise<void> {
  server.closeAllConnections();
  server.close();
}

/** One seeded run of a region client whose answers are lost: each round left it once, and it is silent. */
export async function run(seed: number): Promise<{ readonly rounds: number }> {
  const random = new Random(seed);
  const client = connectRegion({ id: 'here', url: `http://127.0.0.1:${port}`, token });
  const rounds = random.between(1, 3);
  for (let sequence = 1; sequence <= rounds; sequence += 1) {
    fault = random.pick(['cut', 'half', 'status']);
    requests = 0;
    const prepares = [prepareOf(sequence, ['a'], part(set('a', '1')))];
    const { kind } = await client.round(roundOf({ prepares }), timeoutMs);
    if (requests !== 1) throw new Error(`a round whose answer was lost was sent ${requests} times`);
    if (kind !== 'silent') throw new Error(`a lost answer passed for ${kind}`);
  }
  return { rounds };
}
