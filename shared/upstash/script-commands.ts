/** Parses the subcommands of SCRIPT. */
import { digestFrom } from '../commands/user-scripts.ts';

/** A parsed subcommand of SCRIPT. A malformed digest is null. */
export type ScriptOrder =
  | { readonly kind: 'load'; readonly text: string }
  | { readonly kind: 'exists'; readonly shas: readonly (string | null)[] }
  | { readonly kind: 'flush' };

interface RefusedOrder {
  readonly error: string;
  readonly whenQueued: boolean;
}

/** Subcommands of Redis that only make sense with a single server, with the reasons. */
const unsupported: ReadonlyMap<string, string> = new Map([
  ['DEBUG', 'it is about a connection to a single server'],
  ['HELP', 'see the documentation'],
  ['KILL', 'a script ends by itself after too many steps'],
  ['SHOW', 'scripts are identified by their digests only'],
]);

/** Parses the words after SCRIPT, or returns the error of Redis. */
export function orderOf([given = '', ...rest]: readonly string[]): ScriptOrder | RefusedOrder {
  const [first = ''] = rest;
  if (given === '' && rest.length === 0) return refuse(wrongCount('script'));
  const name = given.toUpperCase();
  switch (name) {
    case 'LOAD':
      return rest.length === 1 ? { kind: 'load', text: first } : refuse(wrongCount('script|load'));
    case 'EXISTS':
      return rest.length > 0
        ? { kind: 'exists', shas: rest.map(digestFrom) }
        : refuse(wrongCount('script|exists'));
    case 'FLUSH': {
      const isPlain = rest.length === 0 || (rest.length === 1 && /^a?sync$/i.test(first));
      const error = 'ERR SCRIPT FLUSH only support SYNC|ASYNC option';
      return isPlain ? { kind: 'flush' } : { error, whenQueued: false };
    }
    default: {
      const reason = unsupported.get(name);
      if (reason !== undefined) return refuse(`ERR SCRIPT ${name} is not supported: ${reason}`);
      const shown = Array.from(given).slice(0, 128).join('').toWellFormed();
      return refuse(`ERR unknown subcommand '${shown}'. Try SCRIPT HELP.`);
    }
  }
}

function wrongCount(command: string): string {
  return `ERR wrong number of arguments for '${command}' command`;
}

function refuse(error: string): RefusedOrder {
  return { error, whenQueued: true };
}
