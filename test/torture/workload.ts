/** The writes of a torture run, at random. */
import type { Random } from '../simulation/random.ts';
import { type SentCommand, transfer } from './commands.ts';
import type { KeySpace } from './keys.ts';

/** The commands of a write, which appends its name to each journal that it touches. */
export function drawCommands(name: string, keys: KeySpace, random: Random): readonly SentCommand[] {
  const append = (): SentCommand => ['APPEND', keys.text(random), `${name};`];
  const push = (cell: string): readonly SentCommand[] => [
    ['RPUSH', `${cell}:list`, name],
    ['SET', `${cell}:last`, name],
  ];
  const amount = random.between(1, 30);
  const ways: readonly (() => readonly SentCommand[])[] = [
    () => [append()],
    () => distinct([append(), append(), ['INCR', keys.count(random)]]),
    () => [['SET', keys.register(random), name]],
    () => [['SET', keys.register(random), name]],
    () => [['INCR', keys.count(random)]],
    () => push(keys.account(random)),
    () => [append(), ...push(keys.account(random))],
    () => {
      const [from, to] = keys.accounts(random);
      return [
        ['INCRBY', `${from}:balance`, String(-amount)],
        ['RPUSH', `${from}:list`, name],
        ['INCRBY', `${to}:balance`, String(amount)],
        ...push(to),
      ];
    },
    () => [transfer(keys.accounts(random), amount, name, true)],
    () => [transfer(keys.accounts(random), amount, name, false)],
  ];
  return random.pick(ways)();
}

/** A journal gets each name once. */
function distinct(commands: readonly SentCommand[]): readonly SentCommand[] {
  const keys = commands.map(([, key]) => key);
  return commands.filter(([, key], index) => keys.indexOf(key) === index);
}
