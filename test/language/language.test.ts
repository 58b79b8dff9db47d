import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { EdgeUnderTest } from '../edge/fakes.ts';
import { countHabit, habitNames, habits, retiredNames } from './habits.ts';
import { countedPaths, heldCounts, placesInTexts, presentCounts, risen } from './left.ts';
import { proseOf } from './texts.ts';

/**
 * The language of the tree: plain English in all that users see, old habits that only become fewer elsewhere, and one
 * meaning for each exported name.
 */

describe('an old habit', () => {
  const present = presentCounts();

  it('does not grow anywhere', () => {
    expect(risen(present, heldCounts())).toEqual([]);
  });

  it('that became rarer is held at its new number: node test/language/left.ts', () => {
    expect(heldCounts()).toEqual(present);
  });

  it.each(habitNames)('of the kind "%s" is in no text that users see', (habit) => {
    const places = placesInTexts(habit).map(({ path, line, text }) => `${path}:${line}: ${text}`);
    expect(places, `write ${habits[habit].instead}`).toEqual([]);
  });

  it('is in no summary, description or title of the OpenAPI document', async () => {
    const { text } = await new EdgeUnderTest().ask('GET', '/openapi.json', { token: null });
    const texts = proseOfDocument(JSON.parse(text));
    expect(texts.length).toBeGreaterThan(100);
    const faults = habitNames.flatMap((habit) =>
      texts.filter((text) => countHabit(habit, text) > 0).map((text) => `${habit}: ${text}`),
    );
    expect(faults).toEqual([]);
  });
});

describe('an exported type', () => {
  it('has a name that no other exported type has', () => {
    const paths = new Map<string, string[]>();
    for (const { name, path, isType } of countedPaths().flatMap((each) => proseOf(each).exports)) {
      if (isType) paths.set(name, [...(paths.get(name) ?? []), path]);
    }
    expect([...paths].filter(([, declared]) => declared.length > 1)).toEqual([]);
  });
});

describe('a retired name', () => {
  it('does not come back', () => {
    const found = countedPaths().flatMap((path) => {
      const { identifiers } = proseOf(path);
      return Object.entries(retiredNames)
        .filter(([name]) => identifiers.has(name))
        .map(([name, instead]) => `${path}: ${name}, now ${instead}`);
    });
    expect(found).toEqual([]);
  });
});

describe('the counter', () => {
  it('sees a habit in a comment, and not in code', () => {
    const source = readFileSync('test/language/habits.ts', 'utf8');
    expect(countHabit('where', '// Null where it is absent.')).toBe(1);
    expect(countHabit('what', 'What is left?')).toBe(0);
    expect(countHabit('per', 'One entry a region.')).toBe(1);
    expect(proseOf('test/language/habits.ts').comments.length).toBeGreaterThan(3);
    expect(source).toContain('export const habits');
  });
});

/** Every text of a document under one of the names that hold prose. */
function proseOfDocument(value: unknown): readonly string[] {
  if (Array.isArray(value)) return value.flatMap(proseOfDocument);
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, member]) =>
    typeof member === 'string' && /^(?:summary|description|title)$/.test(name)
      ? [member]
      : proseOfDocument(member),
  );
}
