import { unreachable } from '../../assert.ts';
import type { AdminCommand, AdminCommandAnswer } from '../../contracts/members.ts';
import { counted } from '../../counted.ts';
import { keyOf, type RegionId } from '../../ids.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { ShardState } from '../io/shard-state.ts';
import type { Leaving } from '../io/stored.ts';
import type { BlockedKeys } from '../membership/blocked-keys.ts';
import type { Members } from '../membership/members.ts';
import { isForceRecovered } from '../membership/rejoin.ts';
import type { RegionLink } from '../regions/region-link.ts';
import type { RegionLinks } from '../regions/region-links.ts';
import type { Transactions } from '../transactions/transactions.ts';
import type { Attempts } from './attempts.ts';

/** The parts of the coordinator that commands of operators change. */
export interface AdminCommandsParts {
  readonly links: RegionLinks;
  readonly members: Members;
  readonly blocked: BlockedKeys;
  readonly transactions: Transactions;
  readonly state: ShardState;
  readonly ready: ReadyBuilder;
  readonly attempts: Attempts;
}

type Command<Kind> = Extract<AdminCommand, { kind: Kind }>;

/**
 * Carries out the commands of operators. A command is stored before it is answered; its effect follows as soon as it
 * can.
 */
export class AdminCommands {
  readonly #parts: AdminCommandsParts;

  constructor(parts: AdminCommandsParts) {
    this.#parts = parts;
  }

  /** Carries out a command. The answer is given in the same step, and follows a storage write. */
  take(order: AdminCommand): AdminCommandAnswer {
    if (this.#parts.members.founding.isOpen) return this.#takeBefore(order);
    switch (order.kind) {
      case 'found':
        return this.#found(order);
      case 'add':
        return this.#add(order);
      case 'remove':
        return this.#with(order.region, (link) => this.#remove(link));
      case 'put-out':
        return this.#with(order.region, (link) => this.#evict(link, order));
      case 'return':
        return this.#with(order.region, (link) => this.#return(link, order));
      case 'believe':
        return this.#with(order.region, (link) => this.#forceRecover(link));
      case 'repair':
        return this.#with(order.source, (link) => this.#repair(link, order));
      case 'settle':
        return this.#settle(order);
      default:
        return unreachable(order);
    }
  }

  /** Before the shard has members, an operator may choose which regions those will be, and how it begins. */
  #takeBefore(order: AdminCommand): AdminCommandAnswer {
    const { founding } = this.#parts.members;
    switch (order.kind) {
      case 'found':
        return this.#found(order);
      case 'add':
        if (this.#parts.links.has(order.region)) return refused(knownAlready(order.region));
        founding.join(order.region);
        return taken(`${order.region} is asked for its key count, as the shard has not started`);
      case 'remove':
        return this.#with(order.region, (link) => {
          if (this.#parts.links.all.length === 1) return refused(lastVoter(link));
          founding.drop(link);
          return taken(`${link.region} is not among the regions with which the shard begins`);
        });
      default:
        return refused('the shard has no members yet: POST /v1/admin/found says how it begins');
    }
  }

  #with(region: RegionId, act: (link: RegionLink) => AdminCommandAnswer): AdminCommandAnswer {
    const link = this.#parts.links.find(region);
    if (link !== null) return act(link);
    const ids = this.#parts.links.all.map((known) => known.region);
    return {
      kind: 'unknown-region',
      detail: `The regions are ${ids.join(', ')}: use one of these.`,
    };
  }

  #found(order: Command<'found'>): AdminCommandAnswer {
    const { founding } = this.#parts.members;
    const { source } = order;
    return source === null
      ? founding.found(order)
      : this.#with(source, () => founding.found(order));
  }

  #add({ region, replace = 0 }: Command<'add'>): AdminCommandAnswer {
    if (this.#parts.links.has(region)) return refused(knownAlready(region));
    this.#parts.members.join(region, replace);
    return taken(`everything is copied to ${region}; then it votes`);
  }

  #remove(link: RegionLink): AdminCommandAnswer {
    if (this.#isNeeded(link)) return refused(lastVoter(link));
    this.#parts.members.remove(link);
    return taken(`${link.region} is forgotten as soon as its lease is over`);
  }

  #evict(link: RegionLink, { reason }: Command<'put-out'>): AdminCommandAnswer {
    const leaving = { cause: 'ordered', detail: reason, whole: false, manualReturn: true } as const;
    const { membership } = link;
    if (this.#isNeeded(link)) return refused(lastVoter(link));
    if (membership.state === 'out') {
      this.#parts.members.set(link, { ...membership, manualReturn: true }, 'kept-out');
      return taken(
        `${link.region} was out already, and stays out until an operator lets it return`,
      );
    }
    this.#parts.members.suspect(link, leaving);
    return taken(`${link.region} is evicted as soon as its lease ends`);
  }

  #return(link: RegionLink, { whole, force, replace = 0 }: Command<'return'>): AdminCommandAnswer {
    const { membership } = link;
    const { members } = this.#parts;
    if (membership.state === 'voter') return this.#stay(link, membership.leaving, whole);
    if (membership.cause === 'removed') return refused(isRemoved(link.region));
    if (membership.state === 'copying') {
      return refused(`${link.region} is being copied, and votes when that is over`);
    }
    if (isForceRecovered(link)) {
      // All its data are kept, even if a number comes along: no other region has the right ones.
      members.probeAgain(link);
      return taken(`${link.region} was force-recovered: it votes as soon as it answers`);
    }
    const objection = objectionTo(link, force, replace);
    if (objection !== null) {
      this.#parts.links.probeNow(link);
      return objection;
    }
    link.agree(replace, force ? link.foreignGeneration : null);
    const isWhole = membership.whole || whole || force || replace > 0;
    members.set(link, { ...membership, manualReturn: false, whole: isWhole }, 'recalled');
    members.probeAgain(link);
    return taken(`${link.region} is copied as soon as it answers; then it votes`);
  }

  /** A region that has not left yet stays, if its data are whole; one that must leave returns by itself afterwards. */
  #stay(link: RegionLink, leaving: Leaving | null, whole: boolean): AdminCommandAnswer {
    const { region, membership } = link;
    const { members } = this.#parts;
    if (membership.state !== 'voter' || leaving === null) {
      return refused(`${region} is not out: it votes`);
    }
    if (leaving.cause === 'removed') return refused(isRemoved(region));
    // Its votes count until it has left, so its data cannot be called untrusted meanwhile.
    if (whole)
      return refused(`${region} has not left yet: send it without whole, or once it is out`);
    // Keys that it has missed, or that differ from those of others, have to be copied.
    if (leaving.whole || leaving.cause !== 'ordered' || link.missed.size > 0) {
      members.set(
        link,
        { ...membership, leaving: { ...leaving, manualReturn: false } },
        'recalled',
      );
      return taken(`${region} leaves, is copied, and votes again by itself`);
    }
    members.set(link, { ...membership, leaving: null }, 'recalled');
    members.note(region, 'stayed', 'ordered', 'an operator took the order back in time');
    return taken(`${region} had not left yet: it stays`);
  }

  #forceRecover(link: RegionLink): AdminCommandAnswer {
    this.#parts.members.forceRecover(link);
    return taken(`${link.region} is the only voter; all others are copied from it`);
  }

  #repair(source: RegionLink, { keys }: Command<'repair'>): AdminCommandAnswer {
    if (!source.isLeased)
      return refused(`${source.region} does not vote, so nothing is copied from it`);
    if (keys.some(({ regions }) => regions.includes(source.region))) {
      return refused(`${source.region} cannot be repaired from itself`);
    }
    const { members, links, state, blocked } = this.#parts;
    for (const link of links.all) {
      const missed = keys
        .filter(({ regions }) => regions.includes(link.region))
        .map(({ key }) => [key, state.sequence] as const);
      if (missed.length === 0 || link.leaving?.whole === true) continue;
      members.addMissed(link, missed);
      const detail = `it copies ${counted(missed.length, 'key')} again from ${source.region}`;
      if (link.isVoter) {
        members.suspect(link, { cause: 'repair', detail, whole: false, manualReturn: false });
      }
    }
    // While a region with another value votes, a write would find the difference again.
    const differs = (key: string) => links.voters.some(({ missed }) => missed.has(key));
    blocked.remove(keys.map(({ key }) => key).filter((key) => !differs(key)));
    return taken(
      `The regions that differ copy ${counted(keys.length, 'key')} from ${source.region}`,
    );
  }

  #settle({ transaction: order }: Command<'settle'>): AdminCommandAnswer {
    const transaction = this.#parts.transactions.find(order);
    if (transaction !== null) {
      this.#parts.attempts.abort(transaction, this.#parts.ready.now);
      return taken(`transaction ${keyOf(order)} was undecided: it is aborted and tried again`);
    }
    for (const link of this.#parts.links.voters) link.listLocksAgain();
    return taken('it is not undecided; every voter is asked for the locks that it holds');
  }

  /** True if it votes, or is about to after a force-recovery, and no other voter stays. */
  #isNeeded(link: RegionLink): boolean {
    const { voters } = this.#parts.links;
    const isLast = voters.every((other) => other === link || other.leaving !== null);
    return (link.isVoter || isForceRecovered(link)) && isLast;
  }
}

/** The objection to the loss of the region's data, or null. */
function objectionTo(link: RegionLink, force: boolean, replace: number): AdminCommandAnswer | null {
  const { region, contents, membership } = link;
  const isForeign = membership.state === 'out' && membership.cause === 'foreign';
  if (contents === null) {
    // It has executed a round since: a copy that was given up did begin there, so its data are Lockstep's.
    if (link.begun && link.health.kind === 'answering') return null;
    if (isForeign && force) {
      return refused(
        `${region} has not reported its key count yet: check that it answers, then retry`,
      );
    }
    // This instance does not know its contents yet.
    if (!isForeign || replace > 0) return null;
    return refused(`${region} is not Lockstep's: ${membership.detail}`);
  }
  const { generation, keys } = contents;
  if (link.foreignGeneration !== null) {
    if (force && keys <= replace) return null;
    const detail = `${region} holds the state of another Lockstep and ${counted(keys, 'key')}, and would lose them. If it may, send {"force": true, "replace": ${keys}}`;
    return { kind: 'refused', detail, keys: { [region]: keys } };
  }
  if (generation !== 0 || keys <= replace) return null;
  const detail = `${region} holds ${counted(keys, 'key')} that Lockstep did not put there, and would lose them. If it may, send "replace": ${keys}`;
  return { kind: 'refused', detail, keys: { [region]: keys } };
}

function isRemoved(region: RegionId): string {
  return `${region} is being removed; add it again once it has left`;
}

function knownAlready(region: RegionId): string {
  return `${region} is a region of this shard already`;
}

function taken(detail: string): AdminCommandAnswer {
  return { kind: 'taken', detail };
}

function refused(detail: string): AdminCommandAnswer {
  return { kind: 'refused', detail };
}

function lastVoter({ region }: RegionLink): string {
  return `${region} is the last region that votes: without it nothing is left to read or copy from`;
}
