import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import process from 'node:process';
import { readArguments, refuse } from '../../local/command-line.ts';
import { mutantPage, mutantPagePath, mutants } from './mutants.ts';
import { treeRoot } from './mutation.ts';
import { runInParallel } from './parallel-runner.ts';

/** `npm run mutants`: runs seeds against the patched sources, and shows which seeds notice each mutant. */

const help = `Usage: npm run mutants -- [options] [names]

Switches rules of the protocol off, one by one, and shows which seeds of the simulation fail then. The names are those
of mutants or rules, e.g. R12; without names, all mutants run.

  --seeds <number>   how many seeds per mutant (200)
  --from <number>    the first seed (1)
  --page             write docs/reference/mutants.md instead, as npm run docs does
  --check            with --page: write nothing; exit with code 1 if the page is stale
  --help             show this text
`;

const { values, positionals } = readArguments(help, {
  allowPositionals: true,
  options: {
    seeds: { type: 'string', default: '200' },
    from: { type: 'string', default: '1' },
    page: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
});

if (values.page) writePage();
else await showKillers();

async function showKillers(): Promise<void> {
  const selected = mutants.filter(
    ({ rule, name }) =>
      positionals.length === 0 || positionals.some((one) => one === rule || name === one),
  );
  if (selected.length === 0)
    refuse(help, `No mutant or rule is named ${positionals.join(' or ')}.`);
  for (const { rule, name, patches, runner, seeds } of selected) {
    const { failures } = await runInParallel({
      runner,
      patches,
      from: Number(values.from),
      count: Number(values.seeds),
      jobs: availableParallelism(),
      onlyFirst: false,
    });
    const killing = failures.map(({ seed }) => seed).toSorted((a, b) => a - b);
    const [first] = failures;
    const unproven = failures.filter(({ thrown }) => !thrown).length;
    const within = killing.filter((seed) => seed >= seeds[0] && seed <= seeds[1]).length;
    console.log(
      `${rule} ${name}: ${killing.length} of ${values.seeds} seeds, ${within} in its range ${seeds.join(' to ')}`,
    );
    if (killing.length > 0) console.log(`  seeds ${killing.slice(0, 20).join(' ')}`);
    const tenth = killing[9];
    if (tenth !== undefined) console.log(`  ten of them by seed ${tenth}`);
    if (unproven > 0) console.log(`  ${unproven} of them came to no end`);
    if (first !== undefined) console.log(`  ${first.reason.split('\n').slice(0, 3).join('\n  ')}`);
  }
}

/** With `--check` it writes nothing, and exits with code 1 if the page is stale. */
function writePage(): void {
  const path = `${treeRoot}${mutantPagePath}`;
  if (readFileSync(path, 'utf8') === mutantPage()) return;
  if (values.check) {
    console.log(`${mutantPagePath} is stale; "npm run docs" writes it.`);
    process.exitCode = 1;
    return;
  }
  writeFileSync(path, mutantPage());
  console.log(`wrote ${mutantPagePath}`);
}
