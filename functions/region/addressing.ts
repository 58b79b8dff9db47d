/** The letters by which element-commands.lua knows how a command addresses the elements of a collection. */
import type { Addressing, CommandGroup } from '../../shared/commands/rows.ts';
import { commandTable } from '../../shared/commands/table.ts';

/** The data type of the commands of a group; `k` for any type. */
const types: Partial<Record<CommandGroup, string>> = {
  hash: 'h',
  set: 's',
  'sorted set': 'z',
  geo: 'z',
  list: 'l',
  key: 'k',
};

const ways: Record<Addressing, string> = {
  none: 'n',
  first: 'f',
  second: 'o',
  all: 'a',
  pairs: 'p',
  scored: 'c',
  located: 'g',
  range: 'r',
  end: 'e',
  pop: 't',
  popOfSome: 'm',
  push: 'u',
  index: 'i',
  trim: 'k',
  move: 'v',
  expiry: 'x',
};

const letters: ReadonlyMap<string, string> = new Map(
  commandTable.flatMap((row) => {
    const type = types[row.group];
    if (row.class === 'refused' || row.addresses === null || type === undefined) return [];
    return [[row.name, `${type}${ways[row.addresses]}`]];
  }),
);

/** How a command addresses the elements of a collection, in the letters of element-commands.lua, or null. */
export function addressingOf(name: string): string | null {
  return letters.get(name) ?? null;
}
