import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { scriptBeginning, scriptTexts } from './script-texts.ts';
import { scriptTextsOfNames } from './script-texts-names.ts';
import { ScriptsBeside } from './scripts-beside.ts';

let beside: ScriptsBeside;

beforeAll(async () => {
  beside = await ScriptsBeside.start();
});

afterAll(() => beside.stop());

function textsOf(list: string): readonly string[] {
  const lines = list.split('\n').filter((line) => line !== '');
  return lines.map((line) => line.replaceAll('~', '\n'));
}

describe('scripts', () => {
  it.each(Object.entries({ ...scriptTexts, ...scriptTextsOfNames }))(
    'answer and leave what one plain Redis does: %s',
    async (_, list) => {
      for (const text of textsOf(list)) {
        await beside.begin(scriptBeginning);
        await beside.run({ text, keys: ['k1', 'k2'], argv: ['a1', 'a2'] });
        await beside.end();
      }
      expect(textsOf(list).length).toBeGreaterThan(10);
    },
  );
});
