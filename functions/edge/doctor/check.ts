/** The result of one check of the doctor, and its constructors. */
import type { CommandResult } from '../../../shared/contracts/round.ts';

/** The result of one check. `unknown` is never good news: the advice says how to check by hand. */
export interface DoctorCheck {
  readonly name: string;
  readonly status: 'ok' | 'warning' | 'problem' | 'unknown';
  readonly found: string;
  /** The remedy, or null if there is nothing to do. */
  readonly advice: string | null;
}

/** Runs one command in a region. Failures are values of the result. */
export type CommandRunner = (...command: readonly string[]) => Promise<CommandResult>;

/** A check that passed. */
export function good(name: string, found: string): DoctorCheck {
  return { name, status: 'ok', found, advice: null };
}

/** A check that found a fault. */
export function bad(name: string, found: string, advice: string): DoctorCheck {
  return { name, status: 'problem', found, advice };
}

/** A check that found a risk. */
export function doubtful(name: string, found: string, advice: string): DoctorCheck {
  return { name, status: 'warning', found, advice };
}

/** A check of a value that the server does not report. */
export function unreported(name: string, advice: string): DoctorCheck {
  return { name, status: 'unknown', found: 'not reported', advice: `It does not say. ${advice}` };
}

/** The reason why a reply does not have the expected form. */
export function reasonOf(result: CommandResult): string {
  if (result.kind === 'error') return result.message;
  return result.kind === 'silent' ? result.reason : 'a response of an unexpected form';
}
