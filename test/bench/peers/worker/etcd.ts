/** etcd, by its JSON gateway: each change is a transaction that compares the revision of the key. */
import type { PeerAnswer, PeerOperation, PeerServers } from './contract.ts';
import { attemptsMaximum } from './contract.ts';
import { pause } from './pause.ts';

interface KeyValue {
  readonly value: string;
  readonly mod_revision: string;
}

/** Attempts that lost pause for up to this time, in ms, as clients do that compare revisions in a loop. */
const pauseMsMaximum = 20;

/** Carries out an operation. A serializable read asks the nearest member alone, and may be stale. */
export async function etcd(
  { etcd: url }: PeerServers,
  operation: PeerOperation,
  serializable: boolean,
): Promise<PeerAnswer> {
  if (url === null) throw new Error('there is no etcd');
  const key = btoa(operation.key);
  if (operation.kind === 'set') {
    await call(url, '/v3/kv/put', { key, value: btoa(operation.value) });
    return { result: 'OK', aborts: 0 };
  }
  for (let aborts = 0; aborts < attemptsMaximum; aborts += 1) {
    const found: { readonly kvs?: readonly KeyValue[] } = await call(url, '/v3/kv/range', {
      key,
      serializable,
    });
    const [current] = found.kvs ?? [];
    const text = current === undefined ? null : atob(current.value);
    if (operation.kind === 'read') return { result: text, aborts };
    const value = operation.kind === 'modify' ? operation.value : String(Number(text ?? 0) + 1);
    const compare = [
      { key, target: 'MOD', result: 'EQUAL', mod_revision: current?.mod_revision ?? '0' },
    ];
    const success = [{ request_put: { key, value: btoa(value) } }];
    const done: { readonly succeeded?: boolean } = await call(url, '/v3/kv/txn', {
      compare,
      success,
    });
    if (done.succeeded === true) return { result: value, aborts };
    await pause(Math.random() * pauseMsMaximum);
  }
  throw new Error('given up');
}

async function call<Answer>(url: string, path: string, body: unknown): Promise<Answer> {
  const response = await fetch(url + path, { method: 'POST', body: JSON.stringify(body) });
  const text = await response.text();
  if (response.status !== 200) throw new Error(`etcd answered ${response.status}: ${text}`);
  return JSON.parse(text);
}
