/** The interface that runs scripts in a region: over its REST endpoint in production, directly in tests. */
import type { RawReply } from '../../shared/contracts/reply.ts';
import type { LuaScript } from './lua-bundle.ts';
import type { Element, Silence, TooLarge } from './rest-client.ts';

/** The result of running a script: its reply, or the reason why there is no usable one. */
export type Evaluated = Extract<Element, { kind: 'answered' }> | Silence | TooLarge;

/** The same, with the results of the commands after the script if it ran. */
export type EvaluatedAhead =
  | {
      readonly kind: 'answered';
      readonly reply: RawReply;
      readonly elements: readonly Element[];
    }
  /** The server refused one of the commands, so nothing ran. */
  | { readonly kind: 'discarded' }
  | Silence
  | TooLarge;

/** Runs scripts in one region's Redis. */
export interface ScriptRunner {
  evaluate(
    script: LuaScript,
    keys: readonly string[],
    argv: readonly string[],
    timeoutMs: number,
  ): Promise<Evaluated>;
  /** Runs the script and then `commands`, atomically. */
  evaluateAhead(
    script: LuaScript,
    keys: readonly string[],
    argv: readonly string[],
    commands: readonly (readonly string[])[],
    timeoutMs: number,
  ): Promise<EvaluatedAhead>;
  run(command: readonly string[], timeoutMs: number): Promise<Element | Silence | TooLarge>;
}
