/** Compares listed scripts in a region with a plain Redis. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { applicationScripts } from './application-scripts.ts';
import { type Script, ScriptOracle } from './script-oracle.ts';
import { scriptBeginning, scriptTexts } from './script-texts.ts';
import { scriptTextsOfNames } from './script-texts-names.ts';

let oracle: ScriptOracle;

beforeAll(async () => {
  oracle = await ScriptOracle.start();
});

afterAll(() => oracle.stop());

function textsOf(list: string): readonly string[] {
  const lines = list.split('\n').filter((line) => line !== '');
  return lines.map((line) => line.replaceAll('~', '\n'));
}

describe('scripts', () => {
  it.each(Object.entries({ ...scriptTexts, ...scriptTextsOfNames }))(
    'have the same reply and leave the same data as in one plain Redis: %s',
    async (_, list) => {
      for (const text of textsOf(list)) {
        await oracle.begin(scriptBeginning);
        await oracle.run({ text, keys: ['k1', 'k2'], argv: ['a1', 'a2'] });
        await oracle.end();
      }
      expect(textsOf(list).length).toBeGreaterThan(10);
    },
  );

  it.each(Object.entries(applicationScripts))(
    'serve applications as in one plain Redis: %s',
    async (_, { text, calls }) => {
      await oracle.begin([
        ['RPUSH', 'jobs', 'one', 'two'],
        ['SET', 'jokes', '1'],
        ['INCR', 'apples'],
      ]);
      for (const call of calls) await oracle.run(callOf(text, call));
      await oracle.end();
    },
  );

  it('have, as reads, the same replies as in one plain Redis', async () => {
    const lists = Object.values({ ...scriptTexts, ...scriptTextsOfNames });
    for (const text of lists.flatMap(textsOf).filter((each) => !isOfWrites(each))) {
      await oracle.begin(scriptBeginning);
      await oracle.read({ text, keys: ['k1', 'k2'], argv: ['a1', 'a2'] });
    }
  });
});

function callOf(text: string, call: string): Script {
  const [keys = '', argv = ''] = call.split('|');
  return { text, keys: keys.split(' '), argv: argv === '' ? [] : argv.split(' ') };
}

/** Whether the script draws at random, or counts with PFCOUNT, which is a write in a plain Redis. */
function isOfWrites(text: string): boolean {
  return /pfcount|s.?rand|randomkey|[hz]randfield/.test(text);
}
