import { type CommandRow, read, write } from './rows.ts';

/** The note that all commands of JSON documents share. */
export const jsonNote =
  'The server of each region must support them: Upstash does, and so do Redis 8 or later and older versions with the JSON module. If a region does not, the write is refused with the name of that region.';
const computed = 'The server computes in floating point.';

/** A row of a JSON command. Its key is the first argument, unless `keysAt` says otherwise. */
const reads = (name: string, arity: number, keysAt: 'first' | 'all-but-last' = 'first') =>
  read('json', `JSON.${name}`, arity, { keysAt });
const writes = (name: string, arity: number, keysAt: 'first' | 'every-third' = 'first') =>
  write('json', `JSON.${name}`, arity, { keysAt });

/** The commands of JSON documents. No package lists the positions of their keys. */
export const jsonRows: readonly CommandRow[] = [
  reads('ARRINDEX', -4),
  reads('ARRLEN', -2),
  reads('GET', -2),
  reads('MGET', -3, 'all-but-last'),
  reads('OBJKEYS', -2),
  reads('OBJLEN', -2),
  reads('RESP', -2),
  reads('STRLEN', -2),
  reads('TYPE', -2),
  writes('ARRAPPEND', -4),
  writes('ARRINSERT', -5),
  writes('ARRPOP', -2),
  writes('ARRTRIM', 5),
  writes('CLEAR', -2),
  writes('DEL', -2),
  writes('FORGET', -2),
  writes('MERGE', 4),
  writes('MSET', -4, 'every-third'),
  write('json', 'JSON.NUMINCRBY', 4, { keysAt: 'first', note: computed }),
  write('json', 'JSON.NUMMULTBY', 4, { keysAt: 'first', note: computed }),
  writes('SET', -4),
  writes('STRAPPEND', -3),
  writes('TOGGLE', 3),
];
