import { readFileSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { countHabit, type Habit, habitNames } from './habits.ts';
import { type Prose, proseOf, sourcePaths } from './texts.ts';

/** Counts the habits that are left, per area of the tree, and keeps the numbers in left.json. */

/** The counts of one area, by habit; a habit without an entry is not left there. */
export type AreaCounts = Readonly<Partial<Record<Habit, number>>>;

/** The counts of all areas. An area is `comments` or `texts`, and a folder of the tree. */
export type Counts = Readonly<Record<string, AreaCounts>>;

const file = 'test/language/left.json';

/** The numbers that hold the tree: no area may have more, and none may have less without the number being lowered. */
export function heldCounts(): Counts {
  const counts = z.record(z.string(), z.partialRecord(z.enum(habitNames), z.int().min(1)));
  return counts.parse(JSON.parse(readFileSync(file, 'utf8')));
}

/** The numbers as they are in the tree. */
export function presentCounts(): Counts {
  const counts: Record<string, Partial<Record<Habit, number>>> = {};
  for (const path of countedPaths()) {
    const { comments, strings } = proseOf(path);
    for (const [kind, texts] of [
      ['comments', comments],
      ['texts', strings],
    ] as const) {
      for (const habit of habitNames) {
        const count = texts.reduce((sum, { text }) => sum + countHabit(habit, text), 0);
        if (count === 0) continue;
        const area = `${kind} ${folderOf(path)}`;
        counts[area] ??= {};
        counts[area][habit] = (counts[area][habit] ?? 0) + count;
      }
    }
  }
  return Object.fromEntries(Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The places of a habit in the texts that users see: string literals of functions and shared, but no claims of invariants. */
export function placesInTexts(habit: Habit): readonly Prose[] {
  return countedPaths()
    .filter((path) => /^(?:functions|shared)\/(?!protocol\/invariants)/.test(path))
    .flatMap((path) => proseOf(path).strings)
    .filter(({ text }) => countHabit(habit, text) > 0);
}

/** The files that are counted: all but these, which have to name the habits. */
export function countedPaths(): readonly string[] {
  return sourcePaths().filter((path) => !path.startsWith('test/language'));
}

/** Which of `present` are more than `held` allows, as `area: habit 7, held at 5`. */
export function risen(present: Counts, held: Counts): readonly string[] {
  return Object.entries(present).flatMap(([area, counts]) =>
    habitNames.flatMap((habit) => {
      const [now = 0, then = 0] = [counts[habit], held[area]?.[habit]];
      return now > then ? [`${area}: ${habit} ${now}, held at ${then}`] : [];
    }),
  );
}

function folderOf(path: string): string {
  const [first = '', second = '', ...rest] = path.split('/');
  return rest.length > 0 ? `${first}/${second}` : first;
}

if (process.argv[1]?.endsWith('test/language/left.ts')) lower();

/** Writes the present numbers, unless one has risen. */
function lower(): void {
  const present = presentCounts();
  const faults = process.argv.includes('--first') ? [] : risen(present, heldCounts());
  if (faults.length > 0) {
    console.error(`These numbers may only fall:\n${faults.join('\n')}`);
    process.exitCode = 1;
    return;
  }
  writeFileSync(file, `${JSON.stringify(present, null, 2)}\n`);
  console.log(`wrote ${file}`);
}
