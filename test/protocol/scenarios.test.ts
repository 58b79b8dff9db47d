import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { Scenario } from './scenario.ts';

const folder = fileURLToPath(new URL('scenarios/', import.meta.url));
const names = readdirSync(folder).filter((name) => name.endsWith('.txt'));

/**
 * The text with the real effects of the coordinator. A block is a line with a command, followed by its effects: lines
 * that begin with two spaces. Lines that begin with # say why, and empty lines separate blocks.
 */
function played(text: string): string {
  const scenario = new Scenario();
  const lines = text.split('\n').filter((line) => !line.startsWith('  '));
  return lines
    .flatMap((line) => {
      if (line === '' || line.startsWith('#')) return [line];
      const shown = scenario.run(line);
      return [line, ...(shown.length === 0 ? ['nothing'] : shown).map((one) => `  ${one}`)];
    })
    .join('\n');
}

describe('a scenario', () => {
  it.each(names)('of %s runs as it is written; UPDATE=1 rewrites it', (name) => {
    const text = readFileSync(`${folder}${name}`, 'utf8');
    const wanted = played(text);
    if (process.env.UPDATE === '1') writeFileSync(`${folder}${name}`, wanted);
    else expect(wanted).toBe(text);
  });

  it('exists for each course of a write and of a region', () => {
    expect(names.length).toBeGreaterThanOrEqual(10);
  });
});
