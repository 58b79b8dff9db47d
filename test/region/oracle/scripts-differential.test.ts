/** Compares random scripts in a region with a plain Redis. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { compileWrite } from '../../../shared/commands/compile.ts';
import { runCountOf } from './run-count.ts';
import { ScriptOracle } from './script-oracle.ts';
import { scriptSequences } from './script-sequences.ts';
import { sequences } from './sequences.ts';

let oracle: ScriptOracle;

beforeAll(async () => {
  oracle = await ScriptOracle.start();
});

afterAll(() => oracle.stop());

describe('random scripts', () => {
  it('have the same replies as in one plain Redis, and leave the same data', async () => {
    const property = fc.asyncProperty(scriptSequences, async (scripts) => {
      await oracle.begin([]);
      for (const script of scripts) await oracle.run(script);
      await oracle.end();
    });
    await fc.assert(property, runCountOf(600));
  });
});

// A script passes its arguments to redis.call, so that every command is called by a script.
describe('random commands of scripts', () => {
  it('have the same replies as in one plain Redis, and leave the same data', async () => {
    const property = fc.asyncProperty(sequences, async (steps) => {
      await oracle.begin([]);
      for (const words of steps.flatMap(({ commands }) => commands)) await call(words);
      await oracle.end();
    });
    await fc.assert(property, runCountOf(300));
  });
});

/** Skips commands that are refused by name, depend on chance or the clock, or cache a count in a key. */
const incomparable = new Set(['pop', 'append', 'flush', 'publish']);

async function call(words: readonly string[]): Promise<void> {
  const compiled = compileWrite([words], [], { now: Date.now(), seed: () => 1 });
  if (!compiled.ok && compiled.problem === 'unsupported-command') return;
  const operation = compiled.ok ? compiled.operations[0] : undefined;
  if (incomparable.has(operation?.kind ?? '') || /^(?:PFCOUNT|FLUSH)/.test(words[0] ?? '')) return;
  const script = { text: 'return redis.call(unpack(ARGV))', keys: [], argv: words };
  await oracle.run(script, operation?.reply ?? null);
}
