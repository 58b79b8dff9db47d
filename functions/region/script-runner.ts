import type { RawReply } from '../../shared/contracts/reply.ts';
import type { Script } from './lua-bundle.ts';
import type { Element, Silence, TooLarge } from './rest.ts';

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
    keys: readonly string[],
    argv: readonly string[],
    timeoutMs: number,
  ): Promise<Evaluated>;
  /** Runs the script and then `commands`, as one step. */
  evaluateAhead(
    script: Script,
    keys: readonly string[],
    argv: readonly string[],
    commands: readonly (readonly string[])[],
    timeoutMs: number,
  ): Promise<EvaluatedAhead>;
  run(command: readonly string[], timeoutMs: number): Promise<Element | Silence | TooLarge>;
}
