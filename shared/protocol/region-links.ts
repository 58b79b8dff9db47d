import { assert, unreachable } from '../assert.ts';
import type { RegionId } from '../ids.ts';
import { limits } from '../limits.ts';
import type { RegionFault, RegionStatus } from '../wire/answers.ts';
import type { CoordinatorConfig, Stored } from './events.ts';
import type { Outbox } from './outbox.ts';
import { RegionLink, type RoundHead } from './region-link.ts';
import type { Decision, Refusal } from './round.ts';
import { nextLink } from './schedule.ts';

/** All regions of a shard: what each is owed, and whose turn it is to get a round. */
export class RegionLinks {
  readonly #links: ReadonlyMap<RegionId, RegionLink>;
  readonly #config: CoordinatorConfig;
  readonly #outbox: Outbox;
  #rounds = 0;

  constructor(config: CoordinatorConfig, stored: Stored, outbox: Outbox) {
    const known = new Map(stored.regions.map((one) => [one.region, one]));
    const links = config.regions.map((region) => {
      const fresh = { region, begun: false, pair: null, lost: null };
      const link = new RegionLink(known.get(region) ?? fresh);
      link.lingerUntil = outbox.now + limits.commitLingerMs;
      return [region, link] as const;
    });
    this.#links = new Map(links);
    this.#config = config;
    this.#outbox = outbox;
    outbox.schedule(outbox.now + limits.commitLingerMs);
  }

  get all(): readonly RegionLink[] {
    return [...this.#links.values()];
  }

  of(region: RegionId): RegionLink {
    const link = this.#links.get(region);
    assert(link !== undefined, `${region} is a configured region`);
    return link;
  }

  /** True while some region has something to hear or to answer. One that has lost writes hears nothing any more. */
  get busy(): boolean {
    return this.all.some((link) => link.health.kind !== 'lost' && !link.settled);
  }

  /** The longest smoothed time of a round, ms. */
  get slowestMs(): number {
    return Math.max(...this.all.map((link) => link.roundTripMs ?? 0));
  }

  /** The regions because of which nothing can be prepared now. While there is one, none is asked to lock anything. */
  get obstacles(): readonly RegionFault[] {
    const faults: RegionFault[] = [];
    for (const { region, health, owedCount } of this.#links.values()) {
      if (health.kind !== 'answering') faults.push({ region, reason: health.reason });
      else if (owedCount >= limits.unacknowledgedPerRegion) {
        faults.push({ region, reason: `has ${owedCount} decisions to acknowledge` });
      }
    }
    return faults;
  }

  /** The regions that have lost writes: without them nothing can be decided until an operator steps in. */
  get lost(): readonly RegionFault[] {
    return this.obstacles.filter(({ region }) => this.of(region).health.kind === 'lost');
  }

  /** `region` has to hear `decision`. It waits a moment for a prepare to ride with, unless it is `urgent`. */
  owe(link: RegionLink, decision: Decision, bytes: number, urgent: boolean): void {
    const lingering = link.hasUnsaid;
    link.owe(decision, bytes);
    if (urgent) link.lingerUntil = this.#outbox.now;
    else if (!lingering) link.lingerUntil = this.#outbox.now + limits.commitLingerMs;
    this.#outbox.schedule(link.lingerUntil);
  }

  /** Every region has to hear `decision`. */
  oweAll(decision: Decision, urgent: boolean): void {
    const bytes = decision.keys.reduce((sum, key) => sum + 3 * key.length + 8, 32);
    for (const link of this.#links.values()) this.owe(link, decision, bytes, urgent);
  }

  /** No usable answer came from `link`. */
  fail(link: RegionLink, reason: string, kind: 'silent' | 'foreign' = 'silent'): void {
    link.fail(reason, this.#outbox.now, kind);
    this.#plan(link);
  }

  /** `link` refused a whole round. Returns the loss that this shows, or null where it shows none. */
  refused(link: RegionLink, refusal: Refusal): string | null {
    switch (refusal.kind) {
      case 'lost':
        return 'it no longer holds a round that it had acknowledged';
      case 'history':
        this.fail(link, 'its history has moved past the last acknowledged round');
        return null;
      case 'generation': {
        if (refusal.has === 0 && link.begun) return 'it holds no state any more';
        const reason = `it holds the state of another Lockstep (generation ${refusal.has})`;
        this.fail(link, reason, 'foreign');
        return null;
      }
      default:
        return unreachable(refusal);
    }
  }

  /** Notices the regions that take too long, and plans for all. */
  sweep(): void {
    for (const link of this.#links.values()) {
      if (
        link.health.kind === 'answering' &&
        link.isOverdue(this.#outbox.now, this.#config.voteDeadlineMs)
      ) {
        link.fail(`has not answered for ${this.#config.voteDeadlineMs} ms`, this.#outbox.now);
      }
      this.#plan(link);
    }
  }

  /** Sends as many rounds as there are free connections and something to say. */
  sendRounds(head: RoundHead, entropy: string): void {
    const links = this.all;
    for (;;) {
      const inFlight = links.reduce((sum, link) => sum + link.flightCount, 0);
      const link = nextLink(links, this.#config.connections - inFlight, this.#outbox.now);
      if (link === null) return;
      this.#rounds += 1;
      const mark = `${entropy}${this.#rounds.toString(36)}`;
      const round = link.nextRound(this.#rounds, head, mark, this.#outbox.now);
      const { region } = link;
      this.#outbox.send({
        region,
        number: this.#rounds,
        round,
        timeoutMs: this.#config.roundTimeoutMs,
      });
      this.#outbox.schedule(this.#outbox.now + this.#config.voteDeadlineMs);
    }
  }

  /** What storage has to know of the regions goes with the writes of this step. */
  persist(): void {
    for (const link of this.#links.values()) {
      const region = link.takeStorable(this.#outbox.writes);
      if (region !== null) this.#outbox.persist({ kind: 'region', region });
    }
  }

  get statuses(): readonly RegionStatus[] {
    return this.all.map((link) => ({
      region: link.region,
      state: 'voter',
      health: link.health.kind,
      detail: link.health.kind === 'answering' ? null : link.health.reason,
      roundTripMs: link.roundTripMs,
      unacknowledged: link.owedCount,
      roundsInFlight: link.flightCount,
    }));
  }

  #plan({ health, lingerUntil, oldestSentAt }: RegionLink): void {
    this.#outbox.schedule(lingerUntil);
    if (health.kind === 'silent' || health.kind === 'foreign')
      this.#outbox.schedule(health.probeAt);
    else if (oldestSentAt !== null)
      this.#outbox.schedule(oldestSentAt + this.#config.voteDeadlineMs);
  }
}
