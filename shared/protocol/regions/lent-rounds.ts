import { type Flight, RoundsInFlight } from './rounds-in-flight.ts';
import type { UnacknowledgedDecisions } from './unacknowledged.ts';

/** The rounds of one region that were lent to homes of joint transactions (rule R58). They take no connection here. */
export class LentRounds extends RoundsInFlight {
  readonly #unacknowledged: UnacknowledgedDecisions;

  constructor(unacknowledged: UnacknowledgedDecisions) {
    super();
    this.#unacknowledged = unacknowledged;
  }

  /** A round is lent: its decisions are on their way. */
  lend(number: number, flight: Flight): void {
    for (const decision of flight.decisions) this.#unacknowledged.carry(decision, 1);
    this.set(number, flight);
  }

  /** Ends a lent round, with any result; null if it has ended. */
  land(number: number): Flight | null {
    this.giveUp(number);
    const flight = this.get(number) ?? null;
    this.delete(number);
    return flight;
  }

  /** A lent round may have been lost: its decisions are sent again, and it may still end with a result. */
  giveUp(number: number): void {
    const flight = this.get(number);
    if (flight === undefined || flight.isOverdue === true) return;
    for (const decision of flight.decisions) this.#unacknowledged.carry(decision, -1);
    this.set(number, { ...flight, isOverdue: true });
  }
}
