/** Schemas of query parameters, which arrive as text. */
import { z } from '@hono/zod-openapi';

/** The maximum position in a log: fifteen digits are exact in a double, and no log becomes as long. */
export const positionMaximum = 999_999_999_999_999;

/** A whole number, as text. */
export function wholeNumber(minimum: number, maximum: number) {
  const rule = `is a whole number from ${minimum} to ${maximum}`;
  return z
    .string()
    .regex(/^\d{1,16}$/, rule)
    .transform(Number)
    .refine((value) => value >= minimum && value <= maximum, { message: rule });
}

/** The `limit` of a page: the number of its entries. */
export function pageSize(maximum: number, initial: number) {
  return wholeNumber(1, maximum)
    .default(initial)
    .openapi({ description: `The number of entries of the page, 1 to ${maximum}.` });
}

/** The `before` of a page, newest first: the cursor that the previous page returned. */
export function pageCursor() {
  return wholeNumber(0, positionMaximum)
    .optional()
    .openapi({ description: 'The `before` of the previous page; omitted for the newest entries.' });
}

/** `true` or `false`, as text; false if omitted. */
export function flag() {
  return z
    .enum(['true', 'false'])
    .default('false')
    .transform((text) => text === 'true');
}
