import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Mutant, mutantPage, mutantPagePath, mutants } from './mutants.ts';
import { patched, treeRoot } from './mutation.ts';
import { type Outcome, runInParallel } from './parallel-runner.ts';
import type { RunnerName } from './runners.ts';

const page = readFileSync(`${treeRoot}shared/protocol/PROTOCOL.md`, 'utf8');

describe('a mutant', () => {
  const outcomes = new Map<Mutant, Outcome | Error>();
  beforeAll(async () => {
    const waiting = [...mutants];
    const worker = async () => {
      for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
        outcomes.set(mutant, await outcomeOf(mutant));
      }
    };
    await Promise.all(Array.from({ length: availableParallelism() }, worker));
  }, 3_000_000);

  it('has a name of its own', () => {
    const names = mutants.map(({ name }) => name);
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });

  it.each(mutants)('$rule $name changes the sources that it was made for', ({ patches }) => {
    const files = new Set(patches.map(({ file }) => file));
    for (const file of files) {
      const source = readFileSync(`${treeRoot}${file}`, 'utf8');
      const own = patches.filter((patch) => patch.file === file);
      expect(own.reduce(patched, source)).not.toBe(source);
    }
  });

  it.each(mutants)('$rule $name is killed by a seed of its range', (mutant) => {
    const outcome = outcomes.get(mutant);
    if (outcome === undefined || outcome instanceof Error) throw outcome;
    const killed = outcome.failures.some(({ thrown }) => thrown);
    const { rule, name, runner, seeds } = mutant;
    const [first, last] = seeds;
    const reasons = outcome.failures.map(({ reason }) => reason);
    expect(
      killed,
      `${name} survives ${runner}, seeds ${first} to ${last} ${reasons}: nothing there needs ${rule}. ` +
        `"npm run mutants -- ${name} --seeds 5000" looks for seeds that do.`,
    ).toBe(true);
  });
});

describe('a seeded run without a mutant', () => {
  const last = new Map<RunnerName, number>();
  for (const { runner, seeds } of mutants) {
    last.set(runner, Math.max(last.get(runner) ?? 0, seeds[1]));
  }

  it('of the simulation covers the seeds of its mutants in simulation.test.ts', () => {
    expect(last.get('simulation')).toBeLessThanOrEqual(5_000);
  });

  it.each([...last].filter(([runner]) => runner !== 'simulation'))(
    'of %s passes each seed up to %i',
    async (runner, count) => {
      const jobs = availableParallelism();
      const work = { runner, patches: [], from: 1, count, jobs, onlyFirst: false };
      const { done, failures } = await runInParallel(work);
      expect(failures).toEqual([]);
      expect(done).toBe(count);
    },
    3_000_000,
  );
});

describe('a rule', () => {
  const rules = [...page.matchAll(/^### (R\d+)\. /gm)].map(([, rule]) => rule);

  it('has a mutant', () => {
    const known = new Set<string>(mutants.map(({ rule }) => rule));
    expect(rules.filter((rule) => rule === undefined || !known.has(rule))).toEqual([]);
    expect([...known].filter((rule) => !rules.includes(rule))).toEqual([]);
  });
});

describe('the page of mutants', () => {
  it('is current; "npm run mutants -- --page" writes it', () => {
    const text = readFileSync(`${treeRoot}${mutantPagePath}`, 'utf8');
    expect(text === mutantPage()).toBe(true);
  });
});

async function outcomeOf({
  runner,
  patches,
  seeds: [from, last],
}: Mutant): Promise<Outcome | Error> {
  const count = last - from + 1;
  try {
    return await runInParallel({ runner, patches, from, count, jobs: 1, onlyFirst: true });
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
