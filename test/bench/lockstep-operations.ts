/** Operations of a benchmark as requests to Lockstep's Worker. */
import type { HttpConnection } from './http-connection.ts';
import type { PeerOperation } from './peers/worker/contract.ts';
import { attemptsMaximum, limiterScript, limiterWindowMs } from './peers/worker/contract.ts';

/** The token, and the region in which strong reads are made. */
export interface LockstepTarget {
  readonly token: string;
  readonly region: string;
}

/** Carries out an operation. Returns the number of attempts that lost against another write. */
export async function carryByLockstep(
  target: LockstepTarget,
  connection: HttpConnection,
  operation: PeerOperation,
): Promise<number> {
  const { key } = operation;
  switch (operation.kind) {
    case 'read':
      await read(target, connection, key);
      return 0;
    case 'set':
      await write(target, connection, { ops: [['SET', key, operation.value]] });
      return 0;
    case 'increment':
      await write(target, connection, { ops: [['INCR', key]] });
      return 0;
    case 'limit': {
      const script = ['EVAL', limiterScript, 1, key, limiterWindowMs];
      const { status, body } = await connection.post('/', JSON.stringify(script), target.token);
      if (status !== 200) throw new Error(`a script was answered ${status}: ${body}`);
      return 0;
    }
    case 'modify':
      return modify(target, connection, key, operation.value);
  }
}

async function modify(
  target: LockstepTarget,
  connection: HttpConnection,
  key: string,
  value: string,
): Promise<number> {
  for (let aborts = 0; aborts < attemptsMaximum; aborts += 1) {
    const equals = await read(target, connection, key);
    const checks = [{ key, equals: String(equals) }];
    if (await write(target, connection, { ops: [['SET', key, value]], checks })) return aborts;
  }
  throw new Error('given up');
}

async function read(
  { token, region }: LockstepTarget,
  connection: HttpConnection,
  key: string,
): Promise<unknown> {
  const asked = JSON.stringify({ reads: [['GET', key]], region });
  const { status, body } = await connection.post('/v1/reads', asked, token);
  if (status !== 200) throw new Error(`a read was answered ${status}: ${body}`);
  const { results }: { readonly results: readonly unknown[] } = JSON.parse(body);
  return results[0];
}

/** True if it is committed, false if a check did not hold. */
async function write(
  { token }: LockstepTarget,
  connection: HttpConnection,
  request: object,
): Promise<boolean> {
  const { status, body } = await connection.post('/v1/writes', JSON.stringify(request), token);
  if (status === 412) return false;
  if (status !== 200) throw new Error(`a write was answered ${status}: ${body}`);
  return true;
}
