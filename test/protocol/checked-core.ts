import { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import { Invariants } from '../../shared/protocol/invariants.ts';
import type { CoordinatorEvent } from '../../shared/protocol/io/events.ts';
import type { Ready } from '../../shared/protocol/io/ready.ts';

/** A coordinator that checks its invariants after each step, as every test and every simulated run of one does. */
export class CheckedCore extends CoordinatorCore {
  readonly #invariants = new Invariants(this.internals);

  override step(event: CoordinatorEvent, now: number, entropy: string): Ready {
    const ready = super.step(event, now, entropy);
    this.#invariants.check(ready);
    return ready;
  }
}
