import { readFileSync } from 'node:fs';
import { z } from 'zod';

/** A reply: exactly this; a number within bounds; or a list of so many. */
const replySchema = z.json();

/** What has to come of requests that are sent at once. */
const togetherSchema = z.union([
  /** One request gets the key and all others nil, as long as it holds the key. */
  z.object({ holds: z.string(), forMs: z.number() }).strict(),
  /** All are answered OK, and the key has one of their values for as long. */
  z.object({ keeps: z.string(), forMs: z.number() }).strict(),
]);

/** `in-turn` sends each command by itself, once the one before is answered. */
const forms = z.enum(['single', 'in-turn', 'pipeline', 'multi-exec']);

const caseSchema = z.union([
  z
    .object({
      topic: z.string(),
      name: z.string(),
      form: z.literal('together'),
      /** So many clients send it. */
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
      /** So often, one after the other; `right` has the replies of each time. */
      repeat: z.number().optional(),
      commands: z.array(z.array(z.string())),
      right: replySchema,
    })
    .strict(),
]);

/** One case: commands for the Upstash endpoint, and what is right. */
export type Case = z.infer<typeof caseSchema>;

/** A case whose requests are sent at once. */
export type TogetherCase = Extract<Case, { form: 'together' }>;

/** All cases. */
export const cases: readonly Case[] = z
  .array(caseSchema)
  .parse(JSON.parse(readFileSync(new URL('./cases.json', import.meta.url), 'utf8')));

/** A command with its placeholders filled in: $client, $many:<count> words, and $pairs:<count> of them with values. */
export function filled(command: readonly string[], client: number): readonly string[] {
  return command.flatMap((word) => {
    const [, name, count = '0'] = /^\$(client|many|pairs)(?::(\d+))?$/.exec(word) ?? [];
    if (name === undefined) return [word];
    if (name === 'client') return [`client ${client}`];
    const words = Array.from({ length: Number(count) }, (_, index) => `word ${index}`);
    return name === 'many' ? words : words.flatMap((key) => [key, 'value']);
  });
}
