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

/** `true` or `false`, as text; false if omitted. */
export function flag() {
  return z
    .enum(['true', 'false'])
    .default('false')
    .transform((text) => text === 'true');
}
