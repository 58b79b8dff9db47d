/** Reads cases.json, and fills in the placeholders of its commands and replies. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';

/**
 * A reply: an exact value, with placeholders filled in; a number within bounds; a list of a length; or a part of an
 * error.
 */
const replySchema = z.json();

/** The expected replies of concurrent requests. */
const togetherSchema = z.union([
  /** One request gets the key and all others nil, for as long as it holds the key. */
  z.object({ holds: z.string(), forMs: z.number() }).strict(),
  /** All are answered OK, and the key keeps one of their values for this time. */
  z.object({ keeps: z.string(), forMs: z.number() }).strict(),
]);

/** `in-turn` sends each command by itself, after the response to the one before. */
const forms = z.enum(['single', 'in-turn', 'pipeline', 'multi-exec']);

const caseSchema = z.union([
  z
    .object({
      topic: z.string(),
      name: z.string(),
      form: z.literal('together'),
      /** The number of clients that send it. */
      repeat: z.number(),
      commands: z.array(z.array(z.string())).length(1),
      right: togetherSchema,
    })
    .strict(),
  z
    .object({
      topic: z.string(),
      name: z.string(),
      form: forms,
      /** The number of runs, one after another; `right` has the replies of each run. */
      repeat: z.number().optional(),
      commands: z.array(z.array(z.string())),
      right: replySchema,
    })
    .strict(),
]);

/** One case: commands for the Upstash endpoint, and their expected replies. */
export type Case = z.infer<typeof caseSchema>;

/** A case whose requests are concurrent. */
export type TogetherCase = Extract<Case, { form: 'together' }>;

/** All cases. */
export const cases: readonly Case[] = z
  .array(caseSchema)
  .parse(JSON.parse(readFileSync(new URL('./cases.json', import.meta.url), 'utf8')));

/** Chinese text of this number of bytes. */
function han(bytes: number): string {
  return '漢'.repeat(Math.floor(bytes / 3)).padEnd(Math.floor(bytes / 3) + (bytes % 3), 'x');
}

/** Placeholders of large values: $han:<bytes>, $copies:<count>:<bytes>, $times:<count> and $documents:<from>:<to>. */
function largeWords(word: string): readonly string[] | null {
  const [, name, first = '0', second = '0'] =
    /^\$(han|copies|times|documents):(\d+)(?::(\d+))?$/.exec(word) ?? [];
  const [from, to] = [Number(first), Number(second)];
  const many = (count: number, one: (index: number) => readonly string[]) =>
    Array.from({ length: count }, (_, index) => one(index)).flat();
  switch (name) {
    case 'han':
      return [han(from)];
    case 'copies':
      return many(from, () => [han(to)]);
    case 'times':
      return many(from, () => ['word 0']);
    case 'documents':
      return many(to - from, (index) => [`word ${from + index}`, han(99_999)]);
    default:
      return null;
  }
}

/** The expected value, with the placeholders of large values filled in. */
export function filledRight(right: unknown): unknown {
  if (typeof right === 'string') return largeWords(right)?.[0] ?? right;
  if (!Array.isArray(right)) return right;
  const items: readonly unknown[] = right;
  return items.flatMap((item): readonly unknown[] => {
    const words = typeof item === 'string' ? largeWords(item) : null;
    return words ?? [filledRight(item)];
  });
}

/**
 * A command with its placeholders filled in: $client, $many:<count> words, and $pairs:<count> of them with values;
 * and large values.
 */
export function filled(command: readonly string[], client: number): readonly string[] {
  return command.flatMap((word) => {
    const large = largeWords(word);
    if (large !== null) return large;
    const [, name, count = '0'] = /^\$(client|many|pairs)(?::(\d+))?$/.exec(word) ?? [];
    if (name === undefined) return [word];
    if (name === 'client') return [`client ${client}`];
    const words = Array.from({ length: Number(count) }, (_, index) => `word ${index}`);
    return name === 'many' ? words : words.flatMap((key) => [key, 'value']);
  });
}
