import type { WriteAnswer } from '../../contracts/coordinator.ts';

/** Why no write can be taken in. */
export type WriteRefusal = Pick<
  Extract<WriteAnswer, { kind: 'unavailable' }>,
  'code' | 'faults' | 'reason'
>;
