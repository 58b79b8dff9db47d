/** Copies a region by plain Redis commands, for comparison with a copy by Lockstep. */
import type { Redis } from 'ioredis';
import type { StackRegion } from '../../local/stack/stack.ts';
import { connectTo } from '../support/redis.ts';

/** Keys in one pipeline. */
const keysPerBatch = 1_000;
/** Concurrent requests by REST: as many as the platform allows a Durable Object. */
const requestsAtOnce = 6;

interface Dumped {
  readonly key: string;
  readonly dump: Buffer;
  readonly expiresInMs: number;
}

/**
 * The fastest copy by hand, with no guarantee: over TCP from server to server, past gateways and Worker. SCAN, then
 * DUMP and PTTL in pipelines of a thousand keys, RESTORE in such pipelines; one batch is read while the one before it
 * is written.
 */
export async function copyPlainly(from: StackRegion, to: StackRegion): Promise<number> {
  const source = connectTo(from.redis.port);
  const target = connectTo(to.redis.port);
  try {
    let copied = 0;
    let writing: Promise<unknown> = Promise.resolve();
    let cursor = '';
    while (cursor !== '0') {
      const [next, keys] = await source.scan(cursor || '0', 'COUNT', keysPerBatch);
      cursor = next;
      const batch = await dumpAll(source, keys);
      copied += batch.length;
      await writing;
      writing = restoreAll(target, batch);
    }
    await writing;
    return copied;
  } finally {
    source.disconnect();
    target.disconnect();
  }
}

async function dumpAll(source: Redis, keys: readonly string[]): Promise<readonly Dumped[]> {
  const pipeline = source.pipeline();
  for (const key of keys) pipeline.dumpBuffer(key).pttl(key);
  const replies = (await pipeline.exec()) ?? [];
  return keys.flatMap((key, at) => {
    const dump = replies[at * 2]?.[1];
    const expiry = Number(replies[at * 2 + 1]?.[1]);
    return Buffer.isBuffer(dump) ? [{ key, dump, expiresInMs: Math.max(0, expiry) }] : [];
  });
}

async function restoreAll(target: Redis, batch: readonly Dumped[]): Promise<void> {
  const pipeline = target.pipeline();
  for (const { key, dump, expiresInMs } of batch) {
    pipeline.restore(key, expiresInMs, dump, 'REPLACE');
  }
  const replies = (await pipeline.exec()) ?? [];
  const failed = replies.find(([error]) => error !== null)?.[0];
  if (failed !== undefined && failed !== null) throw failed;
}

/**
 * The same by the gateways' REST protocol, for the first keys alone: DUMP goes in pipelines, but RESTORE's argument
 * is binary, which the JSON of a pipeline cannot hold. So each RESTORE is a request with the dump as its body.
 * Returns the number of copied keys.
 */
export async function copyByRest(
  from: StackRegion,
  to: StackRegion,
  atLeast: number,
): Promise<number> {
  let copied = 0;
  for (let cursor = ''; cursor !== '0' && copied < atLeast; ) {
    const command = ['SCAN', cursor || '0', 'COUNT', String(keysPerBatch)];
    const scanned: readonly [{ readonly result: readonly [string, readonly string[]] }] =
      await pipelineByRest(from, [command], false);
    const [next, keys] = scanned[0].result;
    cursor = next;
    const dumps: readonly { readonly result: string | null }[] = await pipelineByRest(
      from,
      keys.map((key) => ['DUMP', key]),
      true,
    );
    await restoreByRest(to, keys, dumps);
    copied += keys.length;
  }
  return copied;
}

async function restoreByRest(
  { gateway }: StackRegion,
  keys: readonly string[],
  dumps: readonly { readonly result: string | null }[],
): Promise<void> {
  const left = [...keys.entries()];
  const work = async () => {
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      const [at, key] = next;
      const body = Buffer.from(dumps[at]?.result ?? '', 'base64');
      const headers = { authorization: `Bearer ${gateway.token}` };
      const path = `RESTORE/${encodeURIComponent(key)}/0?REPLACE`;
      const response = await fetch(`${gateway.url}/${path}`, { method: 'POST', headers, body });
      if (!response.ok) throw new Error(`RESTORE by REST: ${await response.text()}`);
      await response.text();
    }
  };
  await Promise.all(Array.from({ length: requestsAtOnce }, work));
}

async function pipelineByRest<Reply>(
  { gateway }: StackRegion,
  commands: readonly (readonly string[])[],
  base64: boolean,
): Promise<Reply> {
  const response = await fetch(`${gateway.url}/pipeline`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${gateway.token}`,
      ...(base64 ? { 'upstash-encoding': 'base64' } : {}),
    },
    body: JSON.stringify(commands),
  });
  return JSON.parse(await response.text());
}
