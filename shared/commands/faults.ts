/** Faults and number parsing that several rewrites share, in the words of Redis. */
import type { CommandFault } from './keys.ts';

/** The fault of wrong arguments. `error` is the error that Redis replies when it runs the command, without `ERR `. */
export function argumentFault(detail: string, error: string): CommandFault {
  const redis = { error: `ERR ${error}`, whenQueued: false };
  return { problem: 'invalid-command', detail, redis };
}

/** An option that is refused by name. */
export function unsupportedOption(detail: string): CommandFault {
  return { problem: 'unsupported-command', detail };
}

/** An integer in the syntax of Redis (no plus sign, leading zero or blank), or null. Beyond 2^53 it is rounded. */
export function parseInteger(text: string): number | null {
  return /^(?:0|-?[1-9]\d{0,18})$/.test(text) ? Number(text) : null;
}

/** As {@link parseInteger}, but exact; null also if the integer does not fit in 64 bits. */
export function parseLong(text: string): bigint | null {
  if (parseInteger(text) === null) return null;
  const value = BigInt(text);
  return BigInt.asIntN(64, value) === value ? value : null;
}

/** The fault of arguments in an order that Redis does not accept. */
export function disorderFault(command: string): CommandFault {
  return argumentFault(`syntax error in the arguments of '${command}'`, 'syntax error');
}

/** The fault of an argument that must be an integer and is not. */
export function notIntegerFault(command: string): CommandFault {
  const error = 'value is not an integer or out of range';
  return argumentFault(`${error}, in '${command}'`, error);
}
