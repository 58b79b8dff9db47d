/** `npm start`: starts regions, gateways and the Worker on this machine, shows a first write, and serves the API. */
import { rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf, readArguments } from './command-line.ts';
import { parseRoundTrips, placesFor } from './gateway/round-trips.ts';
import { printableLines } from './pages/printable.ts';
import { type CopyWatch, watchCopies } from './playground/copies.ts';
import { writeFirst } from './playground/first-write.ts';
import type { Play } from './playground/play.ts';
import { startPlay } from './playground/play.ts';
import type { LocalReceiver, VerifiedEvent } from './playground/receiver.ts';
import { lineOf, startReceiver, subscribeReceiver } from './playground/receiver.ts';
import { Screen } from './playground/screen.ts';
import { drawTimeline, paintFor } from './playground/timeline.ts';
import { redisKind } from './stack/regions.ts';
import type { Stack, StackOptions } from './stack/stack.ts';
import { startStack } from './stack/stack.ts';

const help = `Usage: npm start -- [options]

Starts regions and the Worker on this machine, shows a first write, and serves the API until Ctrl-C.

  --regions <1-5>        the number of regions (3)
  --rtt none|aws|<ms>    the round-trip time between the coordinator and each region (aws)
  --port <number>        the port of the API, or the next free one above it (8787)
  --fresh                delete the data of earlier runs
  --help                 show this text
`;

const stateDirectory = resolve('.lockstep');
const localFile = join(stateDirectory, 'local.json');
/** The time for which the start waits for the first event, in ms. */
const patienceMs = 3_000;
/** The number of signals to stop so far. */
let signals = 0;
/** The playground, if there is a keyboard. */
let play: Play | null = null;
/** The watch for copies, from the first write on. */
let copies: CopyWatch | null = null;
const screen = new Screen(process.stdout);
const paint = paintFor(process.stdout.isTTY === true && process.env.NO_COLOR === undefined);

function readOptions(): StackOptions {
  const { values } = readArguments(help, {
    options: {
      regions: { type: 'string', default: '3' },
      rtt: { type: 'string', default: 'aws' },
      port: { type: 'string', default: '8787' },
      fresh: { type: 'boolean', default: false },
    },
  });
  const regions = Number(values.regions);
  placesFor(regions);
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new Error('--port takes a number from 0 to 65535.');
  }
  return {
    stateDirectory,
    regions,
    roundTrips: parseRoundTrips(values.rtt),
    redis: redisKind(),
    port,
    fresh: values.fresh,
    // The receiver runs on this machine.
    variables: { LOCKSTEP_ALLOW_LOOPBACK_WEBHOOKS: 'true' },
    progress: say,
  };
}

function say(line: string): void {
  screen.say(line);
}

async function main(): Promise<void> {
  const options = readOptions();
  const startedAt = performance.now();
  const stack = await startStack(options);
  const stopping = stopOnSignal(stack);
  say(
    `Worker: ${stack.url} (up after ${((performance.now() - startedAt) / 1_000).toFixed(1)} s).\n`,
  );
  try {
    const heard = new Confirmations();
    const receiver = await startReceiver(stateDirectory, (event) => heard.take(event));
    const id = await showFirstWrite(stack, receiver);
    if (id !== null) await heard.of(id);
    await subscribeReceiver(stateDirectory, stack, receiver);
    writeLocalFile(stack);
    showHowToTry(stack);
    heard.show();
    if (signals === 0) copies = watchCopies(stack, say);
    play = playWith(stack);
  } catch (error) {
    await stack.stop();
    throw new Error(`${messageOf(error)}\n${whereToLook(stack)}`);
  }
  const reason = await Promise.race([stopping, stack.worker.ended]);
  // The Worker also ends after a signal, before the rest has ended.
  if (reason === null || signals > 0) {
    await stopping;
    return;
  }
  await Promise.all([play?.end(), copies?.stop()]);
  await stack.stop();
  throw new Error(`The Worker ended (${reason}).\n${whereToLook(stack)}`);
}

function whereToLook({ worker }: Stack): string {
  return `Its log is ${worker.logFile}. To begin with empty regions: npm start -- --fresh`;
}

/** Shows the events that the receiver gets. The first ones wait until the heading is printed. */
class Confirmations {
  private readonly waiting: VerifiedEvent[] = [];
  private readonly arrivals = new Map<string, () => void>();
  private isShown = false;

  take(event: VerifiedEvent): void {
    if (this.isShown) say(`  ${lineOf(event)}`);
    else this.waiting.push(event);
    this.arrivals.get(event.data.id ?? '')?.();
  }

  /** Resolves when the event of this write has arrived, or after {@link patienceMs}. */
  async of(id: string): Promise<void> {
    if (this.waiting.some(({ data }) => data.id === id)) return;
    const arrived = new Promise<void>((resolve) => this.arrivals.set(id, resolve));
    await Promise.race([arrived, delay(patienceMs)]);
  }

  show(): void {
    say(`\n${paint('bold', 'Events, as a webhook receiver gets and verifies them')}`);
    for (const event of this.waiting.splice(0)) say(`  ${lineOf(event)}`);
    this.isShown = true;
  }
}

/**
 * Shows the timeline of a first write, and returns its id. Returns null if the API refuses the write: the stack keeps
 * running, because the operator's remedies, such as adopting existing data, are requests to it.
 */
async function showFirstWrite(
  stack: Stack,
  { url, secret }: LocalReceiver,
): Promise<string | null> {
  const first = await writeFirst(stack, { url, secret });
  if (first.kind === 'refused') {
    say(paint('red', `The first write was refused. ${first.reason}`));
    say('The token for admin requests is in .lockstep/local.json.');
    return null;
  }
  const { id, key, value, story } = first;
  say(paint('bold', 'A first write, and its timeline'));
  for (const line of drawTimeline(story, paint)) say(line);
  say(`\n${paint('bold', `GET ${key}, read from each region's own Redis`)}`);
  for (const { place, gateway } of stack.regions) {
    const response = await fetch(`${gateway.url}/get/${key}`, {
      headers: { authorization: `Bearer ${gateway.token}` },
    });
    const text = await response.text();
    if (text !== JSON.stringify({ result: value })) {
      throw new Error(
        `${place.id} does not hold the value that was written to it. Start with empty regions: npm start -- --fresh`,
      );
    }
    say(`  ${place.id.padEnd(16)}${paint('green', value)}`);
  }
  return id;
}

function writeLocalFile(stack: Stack): void {
  const regions = stack.regions.map(({ place, gateway, redis }) => ({
    id: place.id,
    gateway: { url: gateway.url, token: gateway.token },
    redis: redis.kind === 'embedded' ? null : { port: redis.port },
  }));
  const local = { url: stack.url, tokens: stack.tokens, regions };
  writeFileSync(localFile, `${JSON.stringify(local, null, 2)}\n`, { mode: 0o600 });
}

function showHowToTry({ url, tokens, regions }: Stack): void {
  const inMemory = regions.some(({ redis }) => redis.kind === 'embedded');
  const kept = inMemory ? 'the data, in memory, go with it' : 'the data stay in .lockstep';
  const curl = [
    `curl ${url}/v1/writes`,
    `-H 'Authorization: Bearer ${tokens.write}'`,
    "-H 'Content-Type: application/json'",
    `-d '{"ops": [["INCR", "visits"], ["SADD", "pages", "home"]]}'`,
  ];
  say(`
  URL     ${paint('bold', url)}  (documentation: ${url}/docs)
  token   ${tokens.write}
  try     ${curl.join(' \\\n            ')}

Programs find the same in .lockstep/local.json. Ctrl-C stops everything; ${kept}.`);
}

/**
 * Starts the playground. Returns null without a keyboard, as in a test or a service, and if the stack is being stopped.
 */
function playWith(stack: Stack): Play | null {
  if (process.stdin.isTTY !== true || signals > 0) return null;
  // As without raw mode, a second Ctrl-C ends the process at once.
  const quit = () => process.kill(process.pid, 'SIGINT');
  return startPlay({ stack, keyboard: process.stdin, screen, paint, quit });
}

/**
 * Resolves with null when a signal has arrived and everything has stopped. A second signal ends the process at once.
 */
function stopOnSignal(stack: Stack): Promise<null> {
  const { promise, resolve: stopped, reject } = Promise.withResolvers<null>();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      signals += 1;
      if (signals > 1) process.exit(130);
      say('\nStopping.');
      rmSync(localFile, { force: true });
      const ended = Promise.all([play?.end(), copies?.stop()]);
      ended.then(() => stack.stop()).then(() => stopped(null), reject);
    });
  }
  return promise;
}

// A closed terminal shows nothing, but the processes still have to be stopped in order.
process.stdout.on('error', () => {});

try {
  await main();
  process.exit(0);
} catch (error) {
  console.error(printableLines(paint('red', messageOf(error))));
  process.exit(1);
}
