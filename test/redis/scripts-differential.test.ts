import fc from 'fast-check';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { scriptSequences } from './script-sequences.ts';
import { ScriptsBeside } from './scripts-beside.ts';

let beside: ScriptsBeside;

beforeAll(async () => {
  beside = await ScriptsBeside.start();
});

afterAll(() => beside.stop());

describe('random scripts', () => {
  it('answer as one plain Redis does, and leave what it has', async () => {
    const numRuns = Number(process.env.SEQUENCES ?? 600);
    const seed = process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) };
    const property = fc.asyncProperty(scriptSequences, async (scripts) => {
      await beside.begin([]);
      for (const script of scripts) await beside.run(script);
      await beside.end();
    });
    await fc.assert(property, { numRuns, ...seed });
  }, 300_000);
});
