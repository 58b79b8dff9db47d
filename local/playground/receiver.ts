/** The webhook receiver of `npm start`: verifies events, and shows them. */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { IncomingHttpHeaders, Server } from 'node:http';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { Webhook } from 'standardwebhooks';
import { problemIn } from '../command-line.ts';
import { printable } from '../pages/printable.ts';
import { freePort } from '../stack/free-port.ts';
import type { Stack } from '../stack/stack.ts';

/** A webhook with a valid signature. */
export interface VerifiedEvent {
  readonly type: string;
  /** ISO 8601. */
  readonly timestamp: string;
  readonly data: {
    readonly id?: string;
    readonly sequence?: number | null;
    readonly keys?: readonly string[];
    readonly regions?: Readonly<Record<string, number | null>>;
    readonly reason?: string;
    /** Of an event about a region, as is `detail`, its reason. */
    readonly region?: string;
    readonly detail?: string;
  };
}

/** A webhook receiver, such as a client of Lockstep would run. */
export interface LocalReceiver {
  readonly url: string;
  readonly secret: string;
  stop(): Promise<void>;
}

/** The state between runs: the address, the secret, and the subscription for them. */
interface Kept {
  readonly port: number;
  readonly secret: string;
  readonly subscription: string | null;
}

/** The bytes after which a body is cut, which invalidates its signature. Lockstep sends less. */
const bodyBytesMaximum = 1_000_000;

const events = [
  'write.confirmed',
  'write.aborted',
  'region.out',
  'region.returned',
  'region.diverged',
];

/**
 * Starts a receiver on 127.0.0.1. It verifies signatures with the published library of Standard Webhooks, and calls
 * `show` once per event, even if it is delivered several times.
 */
export async function startReceiver(
  stateDirectory: string,
  show: (event: VerifiedEvent) => void,
): Promise<LocalReceiver> {
  const kept = readKept(stateDirectory);
  const secret = kept?.secret ?? `whsec_${randomBytes(32).toString('base64')}`;
  const port = await freePort(kept?.port);
  keep(stateDirectory, { port, secret, subscription: kept?.subscription ?? null });
  const webhook = new Webhook(secret);
  const shown = new Set<string>();
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= bodyBytesMaximum) chunks.push(chunk);
    });
    request.on('end', () => {
      const event = verify(webhook, Buffer.concat(chunks).toString('utf8'), request.headers);
      response.statusCode = event === null ? 401 : 204;
      response.end();
      const id = String(request.headers['webhook-id']);
      if (event === null || shown.has(id)) return;
      shown.add(id);
      show(event);
    });
  });
  await listen(server, port);
  return { url: `http://127.0.0.1:${port}/`, secret, stop: () => stop(server) };
}

/**
 * Subscribes the receiver to every write. Reuses the subscription of an earlier run: updates its URL, and enables it if
 * it was disabled while no receiver ran.
 *
 * @throws Error with the API's reason if it is refused.
 */
export async function subscribeReceiver(
  stateDirectory: string,
  stack: Stack,
  { url, secret }: LocalReceiver,
): Promise<void> {
  const kept = readKept(stateDirectory);
  const path = `/v1/webhooks/${kept?.subscription}`;
  if (kept?.subscription && (await isThere(stack, path))) {
    // A subscription of an earlier release may have fewer events.
    await call(stack, 'PATCH', path, { url, events });
    await call(stack, 'POST', `${path}/enable`);
    return;
  }
  const description = 'The receiver that npm start shows.';
  const created = await call(stack, 'POST', '/v1/webhooks', { url, secret, events, description });
  const { id }: { readonly id: string } = JSON.parse(created);
  if (kept !== null) keep(stateDirectory, { ...kept, subscription: id });
}

async function isThere({ url, tokens }: Stack, path: string): Promise<boolean> {
  const headers = { authorization: `Bearer ${tokens.write}` };
  const response = await fetch(`${url}${path}`, { headers });
  await response.text();
  return response.status === 200;
}

async function call(
  { url, tokens }: Stack,
  method: string,
  path: string,
  body?: unknown,
): Promise<string> {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${tokens.write}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) {
    throw new Error(`${method} ${path} failed with ${response.status}: ${problemIn(text)}`);
  }
  return text;
}

function readKept(stateDirectory: string): Kept | null {
  const file = join(stateDirectory, 'receiver.json');
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null;
}

function keep(stateDirectory: string, kept: Kept): void {
  const file = join(stateDirectory, 'receiver.json');
  writeFileSync(file, `${JSON.stringify(kept)}\n`, { mode: 0o600 });
}

/** An event as one line. */
export function lineOf({ type, timestamp, data }: VerifiedEvent): string {
  const time = timestamp.slice(11, 23);
  const keys = data.keys?.map(printable).join(' ') ?? '';
  const times = Object.entries(data.regions ?? {}).map(([region, ms]) =>
    ms === null ? printable(region) : `${printable(region)} ${Math.round(ms)} ms`,
  );
  const details = [keys, ...times, printable(data.reason ?? ''), regionText(type, data)]
    .filter((text) => text !== '')
    .join('  ');
  return `${time}  ${type.padEnd(16)}  ${details}`;
}

/** A sentence about a region's event; empty for other events. */
function regionText(type: string, { region, detail }: VerifiedEvent['data']): string {
  if (region === undefined) return '';
  const id = printable(region);
  const reason = printable(detail ?? '');
  if (type === 'region.out') return `${id} is out: ${reason}. Writes go on without it.`;
  if (type === 'region.returned') return `${id} is back: its data were copied, and it votes again.`;
  return reason === '' ? id : `${id}: ${reason}`;
}

function verify(
  webhook: Webhook,
  body: string,
  headers: IncomingHttpHeaders,
): VerifiedEvent | null {
  const names = ['webhook-id', 'webhook-timestamp', 'webhook-signature'];
  const signed = Object.fromEntries(names.map((name) => [name, String(headers[name] ?? '')]));
  try {
    webhook.verify(body, signed);
  } catch {
    return null;
  }
  // The signature is valid, so this is Lockstep's own JSON.
  const event: VerifiedEvent = JSON.parse(body);
  return event;
}

function listen(server: Server, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen(port, '127.0.0.1', resolve);
  return promise;
}

function stop(server: Server): Promise<void> {
  return new Promise((stopped) => {
    server.close(() => stopped());
    server.closeAllConnections();
  });
}
