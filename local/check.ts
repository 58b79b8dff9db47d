/**
 * `npm test`, `npm run check`: decides whether a change is ready. Runs all steps even if one fails, so that one run
 * shows all faults.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { requireRedis } from './stack/require-redis.ts';

const help = `Usage: npm test [-- files or options of vitest]

Checks the format, the types, the generated files and the deployment, and runs all tests. With arguments it runs the
tests alone, and vitest gets the arguments: npm test -- test/edge

  --help   show this text

The exit code is 1 if a step fails.`;

interface Step {
  readonly name: string;
  readonly command: readonly [program: string, ...args: string[]];
}

const steps: readonly Step[] = [
  { name: 'format and lint', command: ['biome', 'ci', '.'] },
  { name: 'types of the core, which knows no I/O', command: ['tsc', '-p', 'shared/protocol'] },
  { name: 'types of the Worker', command: ['tsc', '-p', 'functions'] },
  { name: 'types of the rest', command: ['tsc', '-p', '.'] },
  { name: 'generated types are current', command: ['wrangler', 'types', '--check'] },
  {
    name: 'the Worker can be deployed',
    command: ['wrangler', 'deploy', '--dry-run', '--outdir', join('.lockstep', 'deploy')],
  },
];

const testReport = join('.lockstep', 'tests.json');

const environment = {
  ...process.env,
  CI: '1',
  // A log file is unreadable with colours.
  ...(process.stdout.isTTY === true ? {} : { NO_COLOR: '1' }),
  WRANGLER_SEND_METRICS: 'false',
  WRANGLER_SEND_ERROR_REPORTS: 'false',
  WRANGLER_HIDE_BANNER: 'true',
  WRANGLER_WRITE_LOGS: 'false',
};

/** Runs a step, and shows its output if it fails. */
function passes({ name, command: [program, ...args] }: Step): boolean {
  const startedAt = performance.now();
  const result = spawnSync(join('node_modules', '.bin', program), args, {
    env: environment,
    encoding: 'utf8',
  });
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
  const passed = result.status === 0;
  if (!passed) console.error(`${result.stdout ?? ''}${result.stderr ?? ''}`);
  console.log(`${passed ? 'ok    ' : 'FAILED'} ${name} (${seconds} s)`);
  return passed;
}

function testsPass(args: readonly string[]): boolean {
  if (!requireRedis()) return false;
  mkdirSync('.lockstep', { recursive: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${testReport}`];
  const result = spawnSync(join('node_modules', '.bin', 'vitest'), ['run', ...reporters, ...args], {
    env: environment,
    stdio: 'inherit',
  });
  return result.status === 0;
}

/** The numbers of tests, on a line that programs can find; null if the tests did not run. */
function countTests(): string | null {
  if (!existsSync(testReport)) return null;
  const report: { readonly numPassedTests: number; readonly numFailedTests: number } = JSON.parse(
    readFileSync(testReport, 'utf8'),
  );
  return `${report.numPassedTests} passed, ${report.numFailedTests} failed`;
}

const testArguments = process.argv.slice(2);
if (testArguments.includes('--help')) {
  console.log(help);
  process.exit(0);
}
rmSync(testReport, { force: true });
const failed = testArguments.length > 0 ? [] : steps.filter((step) => !passes(step));
const tested = testsPass(testArguments);
for (const { name } of failed) console.error(`FAILED ${name}`);
console.log(countTests() ?? 'The tests were not run.');
process.exit(tested && failed.length === 0 ? 0 : 1);
