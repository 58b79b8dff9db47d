/** The operator's settings for deliveries. */
import { z } from 'zod';
import { limits } from '../../shared/limits.ts';
import { type TargetPolicy, targetPolicyOf } from '../../shared/webhooks/target.ts';

/** The settings for deliveries. */
export interface CourierSettings {
  readonly policy: TargetPolicy;
  /** The time after which an attempt without a complete response fails, in ms. */
  readonly timeoutMs: number;
  /** The pause before each attempt, in ms. Their number is the number of attempts. */
  readonly pausesMs: readonly number[];
  /** The time for which the log keeps ended deliveries, in ms. */
  readonly keptMs: number;
}

const pausesMaximum = 16;
const timeoutMsMaximum = 60_000;
const pauseMsMaximum = 24 * 60 * 60 * 1_000;

const keptMsMinimum = 100;
const keptMsMaximum = 90 * 24 * 60 * 60 * 1_000;

/** The variables for deliveries. The descriptions appear on the page of configuration. */
export const settingsSchema = z.object({
  LOCKSTEP_DELIVERY_TIMEOUT_MS: z.coerce
    .number('use a whole number of milliseconds')
    .int()
    .min(50)
    .max(timeoutMsMaximum)
    .default(limits.deliveryTimeoutMs)
    .describe('The time after which a delivery attempt without a complete response fails.'),
  LOCKSTEP_DELIVERY_PAUSES_MS: z
    .string()
    .transform((text) => text.split(',').map((pause) => Number(pause.trim())))
    .pipe(z.array(z.int().min(0).max(pauseMsMaximum)).max(pausesMaximum))
    .default([...limits.deliveryPausesMs])
    .describe(
      'The pause before each delivery attempt, in ms, separated by commas. Their number is the number of attempts.',
    ),
  LOCKSTEP_DELIVERIES_KEPT_MS: z.coerce
    .number('use a whole number of milliseconds')
    .int()
    .min(keptMsMinimum)
    .max(keptMsMaximum)
    .default(limits.deliveriesKeptMs)
    .describe('The time for which the log keeps deliveries that have ended.'),
});

/**
 * Reads the settings from the Worker's environment.
 *
 * @throws Error that names the invalid variable and the rule that it breaks.
 */
export function readSettings(environment: object): CourierSettings {
  const parsed = settingsSchema.safeParse(environment);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new Error(
      `${String(issue?.path[0])}: ${issue?.message}. See wrangler.toml for the format.`,
    );
  }
  return {
    policy: targetPolicyOf(environment),
    timeoutMs: parsed.data.LOCKSTEP_DELIVERY_TIMEOUT_MS,
    pausesMs: parsed.data.LOCKSTEP_DELIVERY_PAUSES_MS,
    keptMs: parsed.data.LOCKSTEP_DELIVERIES_KEPT_MS,
  };
}
