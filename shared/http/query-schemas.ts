import { z } from '@hono/zod-openapi';

/** The greatest place in a log. Fifteen digits are kept exactly, and no log comes so far. */
export const positionMaximum = 999_999_999_999_999;

/** A whole number as the text of a query. */
export function wholeNumber(minimum: number, maximum: number) {
  const rule = `is a whole number from ${minimum} to ${maximum}`;
  return z
    .string()
    .regex(/^\d{1,16}$/, rule)
    .transform(Number)
    .refine((value) => value >= minimum && value <= maximum, { message: rule });
}

/** `true` or `false` as the text of a query; false where it is left out. */
export function flag() {
  return z
    .enum(['true', 'false'])
    .default('false')
    .transform((text) => text === 'true');
}
