/** The client of one region: sends rounds, snapshots and inspections as scripts, over the region's REST endpoint. */
import { presentReply } from '../../shared/commands/replies.ts';
import type { RawReply } from '../../shared/contracts/reply.ts';
import type { CommandResult, RegionClient } from '../../shared/contracts/round.ts';
import { keysOfInspection, keysOfRound } from './declared.ts';
import { decodeInspection, decodeRound, silent } from './decoding.ts';
import { encodeInspection, encodeRound } from './encoding.ts';
import {
  digestOf,
  flagsProbe,
  inspectScript,
  type LuaScript,
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
import { takeSnapshot } from './snapshots.ts';

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
export function connectRegion(address: RegionAddress): RegionClient {
  return clientOf(runnerOver(connectRest(address)));
}

/** Returns a client that runs the region's scripts with `runner`. */
export function clientOf(runner: ScriptRunner): RegionClient {
  return {
    async round(round, timeoutMs) {
      const argument = encodeRound(round);
      const keys = keysOfRound(round, argument);
      const sent = await runner.evaluate(roundScriptFor(round), keys, [argument], timeoutMs);
      if (sent.kind === 'answered') return decodeRound(sent.reply, round);
      const { reason, code } = silenceOf(sent);
      return silent(reason, code);
    },
    snapshot: (request, timeoutMs) => takeSnapshot(runner, request, timeoutMs),
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

/** Runs scripts over the region's REST endpoint, sent by {@link ScriptSender}. */
function runnerOver(rest: RestClient): ScriptRunner {
  const sender = new ScriptSender((timeoutMs) => rest.send(['EVAL', flagsProbe, '0'], timeoutMs));
  const tailOf = (keys: readonly string[], argv: readonly string[]) => [
    String(keys.length),
    ...keys,
    ...argv,
  ];
  return {
    async evaluate(script, keys, argv, timeoutMs) {
      const exchange: Exchange = async (first) => {
        const received = await rest.send(first, timeoutMs);
        return received.kind === 'answered' ? { ...received, elements: [] } : received;
      };
      const sent = await sender.send(script, tailOf(keys, argv), exchange, timeoutMs);
      return sent.kind === 'error' ? refusedBy(sent) : sent;
    },
    async evaluateAhead(script, keys, argv, commands, timeoutMs) {
      const exchange: Exchange = async (first) => {
        const received = await rest.sendAll([first, ...commands], timeoutMs);
        if (received.kind !== 'elements') return received;
        const [head, ...elements] = received.elements;
        if (head === undefined) return silent('an answer without elements');
        return head.kind === 'answered' ? { ...head, elements } : head;
      };
      const sent = await sender.send(script, tailOf(keys, argv), exchange, timeoutMs);
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

/** The form of scripts that a server accepts: with or without the line of flags. */
type Form = 'flagged' | 'plain';

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
 * Sends scripts by their digests, and a text only to a server that does not have it: a new coordinator or isolate need
 * not send texts again that others have sent. It sends a second request only after an error that the server raised
 * before it ran anything (an unknown digest, or a text that it cannot parse): the script itself never replies an error,
 * and the commands after it only read.
 */
class ScriptSender {
  /** Runs a short script with the line of flags. */
  readonly #probe: (timeoutMs: number) => Promise<Element | Silence | TooLarge>;
  /** The form that this server accepts; null until it has run a script. */
  #form: Form | null = null;

  constructor(probe: (timeoutMs: number) => Promise<Element | Silence | TooLarge>) {
    this.#probe = probe;
  }

  async send(
    script: LuaScript,
    tail: readonly string[],
    exchange: Exchange,
    timeoutMs: number,
  ): Promise<Received> {
    if (this.#form !== null) return this.#deliver(script, this.#form, tail, exchange);
    const received = await this.#call(script, 'flagged', tail, exchange);
    const isUnknown = isUnknownDigest(received);
    // Some servers store a text under its digest although they cannot parse it.
    if (!isUnknown && !isError(received, 'ERR')) return received;
    // A short script shows whether the server supports flags, so that no long text is sent in vain.
    const probed = await this.#probe(timeoutMs);
    if (probed.kind === 'answered') {
      return isUnknown ? this.#evaluate(script, 'flagged', tail, exchange) : received;
    }
    if (!isError(probed, 'ERR')) return probed;
    return this.#deliver(script, 'plain', tail, exchange);
  }

  /** Sends the script by its digest, and then by its text if the server does not know the digest. */
  async #deliver(
    script: LuaScript,
    form: Form,
    tail: readonly string[],
    exchange: Exchange,
  ): Promise<Received> {
    const received = await this.#call(script, form, tail, exchange);
    return isUnknownDigest(received) ? this.#evaluate(script, form, tail, exchange) : received;
  }

  async #call(
    script: LuaScript,
    form: Form,
    tail: readonly string[],
    exchange: Exchange,
  ): Promise<Received> {
    const digest = await rememberedDigestOf(script[form]);
    return this.#noted(form, await exchange(['EVALSHA', digest, ...tail]));
  }

  async #evaluate(
    script: LuaScript,
    form: Form,
    tail: readonly string[],
    exchange: Exchange,
  ): Promise<Received> {
    return this.#noted(form, await exchange(['EVAL', script[form], ...tail]));
  }

  #noted(form: Form, received: Received): Received {
    if (received.kind === 'answered') this.#form = form;
    return received;
  }
}

/** True if the server does not know the digest, or does not support EVALSHA. */
function isUnknownDigest(received: Received): boolean {
  if (isError(received, 'NOSCRIPT')) return true;
  return received.kind === 'error' && /^ERR unknown command/i.test(received.message);
}

function isError(received: Received | Element, code: string): boolean {
  return received.kind === 'error' && received.code === code;
}
