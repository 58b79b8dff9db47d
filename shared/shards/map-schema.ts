/** Parses maps of shards, and the slots of a shard, as they come in: from calls between objects, and from storage. */
import { z } from 'zod';
import { limits } from '../limits.ts';
import { mapFault, type Ownership, type ShardMap } from './shard-map.ts';
import { defaultPlacement, slotCount } from './slots.ts';

const slotSchema = z
  .int()
  .min(0)
  .max(slotCount - 1);

const slotsSchema = z.strictObject({
  placement: z.literal(defaultPlacement),
  ranges: z.array(z.tuple([slotSchema, slotSchema])),
});

const versionSchema = z.int().min(1);

const mapSchema: z.ZodType<ShardMap> = z
  .strictObject({
    version: versionSchema,
    shards: z
      .array(slotsSchema.extend({ shard: z.int().min(0).max(99_999) }))
      .min(1)
      .max(limits.shards),
  })
  .superRefine((map, context) => {
    const fault = mapFault(map);
    if (fault !== null) context.addIssue({ code: 'custom', message: fault });
  });

const ownershipSchema: z.ZodType<Ownership> = z.strictObject({
  version: versionSchema,
  slots: z.array(slotsSchema),
});

/** A map, or why there is none. */
export type ParsedMap =
  | { readonly ok: true; readonly map: ShardMap }
  | { readonly ok: false; readonly detail: string };

/** Parses a map of shards. */
export function parseShardMap(value: unknown): ParsedMap {
  const parsed = mapSchema.safeParse(value);
  if (parsed.success) return { ok: true, map: parsed.data };
  return { ok: false, detail: `it is no map of shards: ${parsed.error.issues[0]?.message}` };
}

/** Parses the slots of a shard, as its storage has them. Throws a ZodError if they have another form. */
export function parseOwnership(value: unknown): Ownership {
  return ownershipSchema.parse(value);
}
