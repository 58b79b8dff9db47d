/** The client of one region: sends rounds, snapshots and inspections as scripts, over the region's REST endpoint. */
import { presentReply } from '../../shared/commands/replies.ts';
import type { ReadableRegion } from '../../shared/contracts/region-client.ts';
import type { RawReply } from '../../shared/contracts/reply.ts';
import type { CommandResult } from '../../shared/contracts/round.ts';
import { keysOfInspection, keysOfJoint, keysOfRound } from './declared.ts';
import { decodeInspection, decodeRound, silent } from './decoding.ts';
import { encodeInspection, encodeRound } from './encoding.ts';
import { decodeJoint } from './joint-decoding.ts';
import { encodeJoint } from './joint-encoding.ts';
import { takeJointSnapshot } from './joint-snapshots.ts';
import {
  digestOf,
  inspectScript,
  jointScriptFor,
  type LuaScript,
  longRoundScriptFor,
  roundScriptFor,
} from './lua-bundle.ts';
import {
  connectRest,
  type Element,
  type RestClient,
  type Silence,
  type TooLarge,
} from './rest-client.ts';
import type { ScriptRunner } from './script-runner.ts';
import { SmallKeys } from './small-keys.ts';
import { takeShortSnapshot, takeSnapshot } from './snapshots.ts';

/** The address and credentials of a region. */
export interface RegionAddress {
  readonly id: string;
  /** The URL of its Redis in the Upstash REST protocol. */
  readonly url: string;
  readonly token: string;
}

/** The maximum length of a reason in characters: a server may put a whole command into its message. */
const reasonLength = 300;

const tooLarge = silent('an answer that is too large');

/** Returns a client of one region. It sends each round once, and never throws. */
export function connectRegion(address: RegionAddress): ReadableRegion {
  return clientOf(runnerOver(connectRest(address)));
}

/** Returns a client that runs the region's scripts with `runner`. */
export function clientOf(runner: ScriptRunner): ReadableRegion {
  const small = new SmallKeys();
  return {
    async round(round, timeoutMs) {
      const argument = encodeRound(round);
      const keys = keysOfRound(round, argument);
      const run = async (script: LuaScript) => {
        const sent = await runner.evaluate(script, keys, [argument], timeoutMs);
        if (sent.kind === 'answered') return decodeRound(sent.reply, round);
        const { reason, code } = silenceOf(sent);
        return silent(reason, code);
      };
      const result = await run(roundScriptFor(round));
      if (result !== 'longer') return result;
      const longer = await run(longRoundScriptFor(round));
      return longer === 'longer' ? silent('an answer to a shorter script') : longer;
    },
    async joint(round, timeoutMs) {
      const argument = encodeJoint(round);
      const keys = keysOfJoint(round, argument);
      const sent = await runner.evaluate(jointScriptFor(round), keys, [argument], timeoutMs);
      if (sent.kind === 'answered') return decodeJoint(sent.reply, round);
      const { reason, code } = silenceOf(sent);
      return silent(reason, code);
    },
    jointSnapshot: (request, timeoutMs) => takeJointSnapshot(runner, request, timeoutMs),
    snapshot: (request, timeoutMs) => takeSnapshot(runner, request, timeoutMs, small),
    isShort: (commands) => small.keysOf(commands) !== null,
    shortSnapshot: (request, timeoutMs) => takeShortSnapshot(runner, request, timeoutMs, small),
    async inspect(shard, inspection, timeoutMs) {
      const argument = encodeInspection(inspection);
      const keys = keysOfInspection(shard, inspection, argument);
      const sent = await runner.evaluate(inspectScript, keys, [argument], timeoutMs);
      return sent.kind === 'answered'
        ? decodeInspection(sent.reply)
        : silent(silenceOf(sent).reason);
    },
    async run(command, timeoutMs): Promise<CommandResult> {
      const received = await runner.run(command, timeoutMs);
      if (received.kind === 'error') {
        return { kind: 'error', message: received.message.slice(0, reasonLength) };
      }
      if (received.kind !== 'answered') return silent(silenceOf(received).reason);
      return { kind: 'answered', reply: presentReply(received.reply) };
    },
  };
}

function silenceOf(sent: Silence | TooLarge): Silence {
  return sent.kind === 'silent' ? sent : tooLarge;
}

/** Runs scripts over the region's REST endpoint. */
function runnerOver(rest: RestClient): ScriptRunner {
  const tailOf = (keys: readonly string[], argv: readonly string[]) => [
    String(keys.length),
    ...keys,
    ...argv,
  ];
  return {
    async evaluate(script, keys, argv, timeoutMs) {
      const sent = await sendScript(script, tailOf(keys, argv), async (first) => {
        const received = await rest.send(first, timeoutMs);
        return received.kind === 'answered' ? { ...received, elements: [] } : received;
      });
      return sent.kind === 'error' ? refusedBy(sent) : sent;
    },
    async evaluateAhead(script, keys, argv, commands, timeoutMs) {
      const sent = await sendScript(script, tailOf(keys, argv), async (first) => {
        const received = await rest.sendAll([first, ...commands], timeoutMs);
        if (received.kind !== 'elements') return received;
        const [head, ...elements] = received.elements;
        if (head === undefined) return silent('an answer without elements');
        return head.kind === 'answered' ? { ...head, elements } : head;
      });
      if (sent.kind !== 'error') return sent;
      return sent.code === 'EXECABORT' ? { kind: 'discarded' } : refusedBy(sent);
    },
    run: (command, timeoutMs) => rest.send(command, timeoutMs),
  };
}

function refusedBy({ code, message }: Extract<Element, { kind: 'error' }>): Silence {
  return silent(`the server refused: ${message.slice(0, reasonLength)}`, code);
}

/** The replies of a script and of the commands after it. An `error` is the server's own: the script did not reply. */
type Received =
  | {
      readonly kind: 'answered';
      readonly reply: RawReply;
      readonly elements: readonly Element[];
    }
  | Extract<Element, { kind: 'error' }>
  | Silence
  | TooLarge;

/** Sends one request whose first command is `first`. */
type Exchange = (first: readonly string[]) => Promise<Received>;

/** The digests of texts. A text never changes, so an isolate computes each digest once. */
const digests = new Map<string, Promise<string>>();

function rememberedDigestOf(text: string): Promise<string> {
  const known = digests.get(text);
  if (known !== undefined) return known;
  const digest = digestOf(text);
  digests.set(text, digest);
  return digest;
}

/**
 * Sends a script by its digest, and its text only to a server that does not have it: a new coordinator or isolate need
 * not send texts again that others have sent. It sends the second request only after an error that the server raised
 * before it ran anything: the script itself never replies an error, and the commands after it only read.
 */
async function sendScript(
  script: LuaScript,
  tail: readonly string[],
  exchange: Exchange,
): Promise<Received> {
  const received = await exchange(['EVALSHA', await rememberedDigestOf(script.text), ...tail]);
  return isUnknownDigest(received) ? exchange(['EVAL', script.text, ...tail]) : received;
}

/** True if the server does not know the digest, or does not support EVALSHA. */
function isUnknownDigest(received: Received): boolean {
  if (isError(received, 'NOSCRIPT')) return true;
  return received.kind === 'error' && /^ERR unknown command/i.test(received.message);
}

function isError(received: Received | Element, code: string): boolean {
  return received.kind === 'error' && received.code === code;
}
