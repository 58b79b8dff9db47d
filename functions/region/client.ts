import type { RawReply } from '../../shared/protocol/reply.ts';
import type { CommandResult, RegionClient } from '../../shared/protocol/round.ts';
import { presentReply } from '../../shared/wire/replies.ts';
import { decodeInspection, decodeRound, silent } from './decoding.ts';
import { encodeInspection, encodeRound, keysOf } from './encoding.ts';
import { connectRest, type Element, type Rest, type Silence, type TooLarge } from './rest.ts';
import { digestOf, inspectScript, roundScript, type Script, snapshotScript } from './scripts.ts';
import { takeSnapshot } from './snapshots.ts';

/** Where a region is, and what it asks of its callers. */
export interface RegionAddress {
  readonly id: string;
  /** Of its Redis over the Upstash REST protocol. */
  readonly url: string;
  readonly token: string;
}

/** What came of one use of a script: its reply, or why there is none that can be used. */
export type Evaluated = Extract<Element, { kind: 'answered' }> | Silence | TooLarge;

/** The same, and what came of the commands behind it, if the script ran. */
export type EvaluatedAhead =
  | {
      readonly kind: 'answered';
      readonly reply: RawReply;
      readonly elements: readonly Element[];
    }
  /** The server does not take one of the commands, so nothing ran. */
  | { readonly kind: 'discarded' }
  | Silence
  | TooLarge;

/** Runs scripts in one region's Redis. */
export interface ScriptRunner {
  evaluate(
    script: Script,
    shard: number,
    argv: readonly string[],
    timeoutMs: number,
  ): Promise<Evaluated>;
  /** Runs the script and then `commands`, as one step. */
  evaluateAhead(
    script: Script,
    shard: number,
    argv: readonly string[],
    commands: readonly (readonly string[])[],
    timeoutMs: number,
  ): Promise<EvaluatedAhead>;
  run(command: readonly string[], timeoutMs: number): Promise<Element | Silence | TooLarge>;
}

/** A reason is shown to people, and a server may put a whole command into its message. */
const reasonLength = 300;

const tooLarge = silent('an answer that is too large');

/** A client of one region. It sends each round once, and never throws. */
export function connectRegion(address: RegionAddress): RegionClient {
  return clientOf(runnerOver(connectRest(address)));
}

/** A client that has a region's scripts run by `runner`. */
export function clientOf(runner: ScriptRunner): RegionClient {
  return {
    async round(round, timeoutMs) {
      const argv = [encodeRound(round)];
      const sent = await runner.evaluate(roundScript, round.shard, argv, timeoutMs);
      if (sent.kind === 'answered') return decodeRound(sent.reply, round);
      const { reason, code } = silenceOf(sent);
      return silent(reason, code);
    },
    snapshot: (request, timeoutMs) => takeSnapshot(runner, request, timeoutMs),
    async inspect(shard, inspection, timeoutMs) {
      const argv = [encodeInspection(inspection)];
      const sent = await runner.evaluate(inspectScript, shard, argv, timeoutMs);
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

/** Sends scripts as {@link ScriptSender} does, by the region's REST endpoint. */
function runnerOver(rest: Rest): ScriptRunner {
  const senders = [roundScript, snapshotScript, inspectScript].map(
    (script) => [script, new ScriptSender(script)] as const,
  );
  const senderOf = new Map<Script, ScriptSender>(senders);
  const tailOf = (shard: number, argv: readonly string[]) => {
    const keys = keysOf(shard);
    return [String(keys.length), ...keys, ...argv];
  };
  return {
    async evaluate(script, shard, argv, timeoutMs) {
      const sender = senderOf.get(script) ?? new ScriptSender(script);
      const sent = await sender.send(tailOf(shard, argv), async (first) => {
        const received = await rest.send(first, timeoutMs);
        return received.kind === 'answered' ? { ...received, elements: [] } : received;
      });
      return sent.kind === 'error' ? refusedBy(sent) : sent;
    },
    async evaluateAhead(script, shard, argv, commands, timeoutMs) {
      const sender = senderOf.get(script) ?? new ScriptSender(script);
      const sent = await sender.send(tailOf(shard, argv), async (first): Promise<Received> => {
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

/** What a script answered, and the commands behind it. An `error` is the server's own: the script has not answered. */
type Received =
  | {
      readonly kind: 'answered';
      readonly reply: RawReply;
      readonly elements: readonly Element[];
    }
  | Extract<Element, { kind: 'error' }>
  | Silence
  | TooLarge;

/**
 * Sends a script by EVAL until it was answered once, then by EVALSHA, and by EVAL again if the server has forgotten it.
 * A second request follows only an error that the server gave before it ran anything: the script itself never answers
 * by one, and commands behind it only read.
 */
class ScriptSender {
  readonly #script: Script;
  /** The text that this server has run, and its digest; null until then. */
  #known: { readonly text: string; readonly digest: string } | null = null;

  constructor(script: Script) {
    this.#script = script;
  }

  async send(
    tail: readonly string[],
    exchange: (first: readonly string[]) => Promise<Received>,
  ): Promise<Received> {
    const known = this.#known;
    if (known !== null) {
      const received = await exchange(['EVALSHA', known.digest, ...tail]);
      return isError(received, 'NOSCRIPT') ? this.#evaluate(known.text, tail, exchange) : received;
    }
    const received = await this.#evaluate(this.#script.flagged, tail, exchange);
    // A server that knows no flags reads their line as a syntax error.
    return isError(received, 'ERR') ? this.#evaluate(this.#script.plain, tail, exchange) : received;
  }

  async #evaluate(
    text: string,
    tail: readonly string[],
    exchange: (first: readonly string[]) => Promise<Received>,
  ): Promise<Received> {
    const received = await exchange(['EVAL', text, ...tail]);
    if (received.kind === 'answered') this.#known = { text, digest: await digestOf(text) };
    return received;
  }
}

function isError(received: Received, code: string): boolean {
  return received.kind === 'error' && received.code === code;
}
