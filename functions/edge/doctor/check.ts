import type { CommandResult } from '../../../shared/contracts/round.ts';

/** One thing that the doctor looked at. `unknown` is never good news: it says what to look at by hand. */
export interface DoctorCheck {
  readonly name: string;
  readonly status: 'ok' | 'warning' | 'problem' | 'unknown';
  readonly found: string;
  /** What to do; null where nothing is. */
  readonly advice: string | null;
}

/** Sends one command to a region; what comes of it is a value. */
export type CommandRunner = (...command: readonly string[]) => Promise<CommandResult>;

/** A check that is as it has to be. */
export function good(name: string, found: string): DoctorCheck {
  return { name, status: 'ok', found, advice: null };
}

/** A check that is as it must not be. */
export function bad(name: string, found: string, advice: string): DoctorCheck {
  return { name, status: 'problem', found, advice };
}

/** A check of what can do harm one day. */
export function doubtful(name: string, found: string, advice: string): DoctorCheck {
  return { name, status: 'warning', found, advice };
}

/** A check of what the server does not tell. */
export function unreported(name: string, advice: string): DoctorCheck {
  return { name, status: 'unknown', found: 'not told', advice: `It does not say. ${advice}` };
}

/** Why there is no reply of the form that is wanted. */
export function reasonOf(result: CommandResult): string {
  if (result.kind === 'error') return result.message;
  return result.kind === 'silent' ? result.reason : 'a response of an unexpected form';
}
