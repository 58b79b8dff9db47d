import type { CommandFault } from './keys.ts';

/** A command whose arguments are wrong. `error` is what Redis replies as it runs the command, without its code. */
export function argumentFault(detail: string, error: string): CommandFault {
  const redis = { error: `ERR ${error}`, whenQueued: false };
  return { problem: 'invalid-command', detail, redis };
}

/** An option that is refused by name. */
export function unsupportedOption(detail: string): CommandFault {
  return { problem: 'unsupported-command', detail };
}

/** An integer as Redis spells it: no sign but a minus, no leading zero, no blanks; null where `text` is none. */
export function parseInteger(text: string): number | null {
  return /^(?:0|-?[1-9]\d{0,18})$/.test(text) ? Number(text) : null;
}

/** As {@link parseInteger}, with every digit; null also if it is none of 64 bits. */
export function parseLong(text: string): bigint | null {
  if (parseInteger(text) === null) return null;
  const value = BigInt(text);
  return BigInt.asIntN(64, value) === value ? value : null;
}

/** What is said of arguments that are in no order that Redis knows. */
export function disorderFault(command: string): CommandFault {
  return argumentFault(`syntax error in the arguments of '${command}'`, 'syntax error');
}

/** What is said of a number that is none. */
export function notIntegerFault(command: string): CommandFault {
  const error = 'value is not an integer or out of range';
  return argumentFault(`${error}, in '${command}'`, error);
}
