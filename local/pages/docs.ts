/** `npm run docs`: writes the generated pages of docs/reference, or with `--check` reports the stale ones. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { readArguments } from '../command-line.ts';
import { projectDirectory } from '../stack/bundle.ts';
import { readApiDocument } from './api-document.ts';
import { apiPage } from './api-page.ts';
import { benchmarkPage } from './benchmark-page.ts';
import { commandPage } from './command-page.ts';
import { configurationPage } from './configuration-page.ts';
import { limitPage } from './limit-page.ts';
import { llmsPage } from './llms-page.ts';
import { formatMarkdown } from './markdown.ts';
import { problemPage } from './problem-page.ts';

const help = `Usage: npm run docs [-- --check]

Writes the generated pages of docs/reference: the HTTP API, commands, problems, configuration,
limits, mutants and benchmarks, and docs/llms.txt, the list of all pages.

  --check   write nothing; exit with code 1 if a page is stale
  --help    show this text
`;

/** The pages by path, each with the function that makes it. */
const pages: Readonly<Record<string, () => string | Promise<string>>> = {
  'docs/llms.txt': llmsPage,
  'docs/reference/benchmarks.md': benchmarkPage,
  'docs/reference/commands.md': commandPage,
  'docs/reference/configuration.md': configurationPage,
  'docs/reference/http-api.md': async () => apiPage(await readApiDocument()),
  'docs/reference/limits.md': limitPage,
  'docs/reference/problems.md': problemPage,
};

/** The page of mutants is made by the simulation, which no other program imports. */
const mutantProgram = join('test', 'simulation', 'mutation-run.ts');

async function main(): Promise<number> {
  const { values } = readArguments(help, {
    options: { check: { type: 'boolean', default: false } },
  });
  // Paths of sources are relative to the root of the project.
  process.chdir(projectDirectory);
  let stale = 0;
  for (const [path, make] of Object.entries(pages)) {
    const made = await make();
    const text = path.endsWith('.md') ? formatMarkdown(made) : made;
    if (existsSync(path) && readFileSync(path, 'utf8') === text) continue;
    stale += 1;
    console.log(values.check ? `${path} is stale; "npm run docs" writes it.` : `wrote ${path}`);
    if (values.check) continue;
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  const args = [mutantProgram, '--page', ...(values.check ? ['--check'] : [])];
  const mutants = spawnSync(process.execPath, args, { stdio: 'inherit' });
  return mutants.status === 0 && (stale === 0 || !values.check) ? 0 : 1;
}

process.exitCode = await main();
