import type { Mutant } from './mutants.ts';

/** R43: the walls that keep users' scripts from seeing their region, or changing more in it than they may. */

const names = 'functions/region/lua/user-scripts/names.lua';
const nondeterministic = 'functions/region/lua/user-scripts/nondeterministic.lua';
const writeHost = 'functions/region/lua/user-scripts/write-host.lua';

function mutant(name: string, file: string, find: string, replace: string): Mutant {
  return {
    rule: 'R43',
    name,
    patches: [{ file, find, replace }],
    runner: 'scripts',
    seeds: [1, 150],
  };
}

export const userScriptMutants: readonly Mutant[] = [
  mutant(
    'scripts-draw-by-each-servers-clock',
    names,
    'seedWith(given.seed)',
    "seedWith(tonumber(native.call('TIME')[2]))",
  ),
  mutant('scripts-see-addresses', names, 'tostring = shown', 'tostring = tostring'),
  mutant('scripts-reach-the-real-redis', names, '  redis = redis, KEYS', '  redis = native, KEYS'),
  mutant(
    'scripts-read-the-clock',
    nondeterministic,
    '{ whole(math.floor(tx.now / 1000)), whole(tx.now % 1000 * 1000) }',
    "must('TIME')",
  ),
  mutant(
    'scripts-draw-from-unsorted-members',
    nondeterministic,
    'if width == 1 then sortByBytes(flat) end',
    '',
  ),
  mutant(
    'scripts-keep-failed-writes',
    writeHost,
    '  if failure then\n    undo()\n',
    '  if failure then\n',
  ),
  mutant(
    'scripts-report-no-fingerprint-of-their-writes',
    writeHost,
    "if command.row.class == 'write' then noteEffect(command) end",
    '',
  ),
];
