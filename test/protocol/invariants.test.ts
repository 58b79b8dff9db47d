import { describe, expect, it } from 'vitest';
import { InvariantViolation } from '../../shared/assert.ts';
import type { CoordinatorInternals } from '../../shared/protocol/invariants/must.ts';
import type { RegionLink } from '../../shared/protocol/regions/region-link.ts';
import { CoreHarness, frameOf } from './core-harness.ts';

/** One thing that is wrong in memory, and the claim that has to notice it in the next step. */
interface Sabotage {
  readonly claim: string;
  readonly spoil: (core: CoordinatorInternals, harness: CoreHarness) => void;
}

const sabotages: readonly Sabotage[] = [
  {
    claim: 'a queued frame is a pending write',
    spoil: ({ pendingWrites }) => {
      const [waiting] = pendingWrites.queue.frames;
      if (waiting !== undefined) pendingWrites.forget(waiting);
    },
  },
  {
    claim: 'a pending write is queued or part of one transaction',
    spoil: ({ pendingWrites }) => pendingWrites.queue.take(() => true),
  },
  {
    claim: 'an undecided transaction locks its keys (R7)',
    spoil: ({ transactions }) => dropLock(transactions.locks),
  },
  {
    claim: 'only undecided transactions hold locks',
    spoil: ({ transactions }) => transactions.undecided[0]?.end('abort'),
  },
  {
    claim: 'each missing vote is asked for or about to be',
    spoil: ({ links }) => void links.voters[0]?.land(lastFlightOf(links.voters[0])),
  },
  {
    claim: 'a commit without acknowledgement is queued for its voter',
    spoil: ({ links }) => links.voters[1]?.unacknowledged.remove([3, 1]),
  },
  {
    claim: 'no acknowledged commit is queued for a voter',
    spoil: ({ pendingConfirmations }) => pendingConfirmations.acknowledge([3, 1], 'near'),
  },
  {
    claim: 'the rounds with a decision are counted',
    spoil: ({ links }) => {
      for (const { decision } of links.voters[0]?.unacknowledged.decisions ?? []) {
        links.voters[0]?.unacknowledged.carry(decision, -1);
      }
    },
  },
  {
    claim: 'an unacknowledged decision is of a decided transaction',
    spoil: ({ links, ready }) => {
      const abort = { transaction: [3, 2], outcome: 'abort', keys: ['b'] } as const;
      links.voters[0]?.unacknowledged.add(abort, 0, 1, ready.now);
    },
  },
  {
    claim: 'each sequence that is given out is stored',
    spoil: ({ state }) => {
      state.sequence += 1;
    },
  },
  {
    claim: 'a new epoch is stored by the step that makes it (R1)',
    spoil: ({ state }) => {
      state.epoch += 1;
    },
  },
  {
    claim: 'a membership is stored by the step that changes it (R1)',
    spoil: ({ links }) => {
      const leaving = {
        cause: 'lost',
        detail: 'a test',
        whole: false,
        manualReturn: false,
      } as const;
      const [link] = links.voters;
      if (link !== undefined) link.membership = { state: 'voter', since: 0, leaving };
    },
  },
  {
    claim: 'a lease ends within its lifetime and the drift (R30)',
    spoil: ({ links, ready }) => {
      links.voters[0]?.lease.drop();
      links.voters[0]?.lease.roundEnded(0, ready.now + 1_000_000);
      links.voters[0]?.lease.noteReaders(ready.now, 1_000);
      links.voters[0]?.lease.requestFor(ready.now);
    },
  },
  {
    claim: 'a key is missed at a sequence that was given out',
    spoil: ({ links }) => links.voters[0]?.missed.set('z', 1_000),
  },
  {
    claim: 'a tick closes each vote',
    spoil: ({ ready }) => ready.clearSchedule(),
  },
  {
    claim: 'a former generation is not the present one (R13)',
    spoil: ({ links }) => {
      const [link] = links.voters;
      if (link !== undefined) link.former = [link.generation];
    },
  },
];

/** A commit that is not acknowledged anywhere, an undecided write of `b`, and one that waits for `b`. */
function busyHarness(): CoreHarness {
  const harness = CoreHarness.begun();
  harness.arrive(frameOf(['a']));
  harness.execute(harness.flight('near'));
  harness.execute(harness.flight('middle'));
  harness.execute(harness.flight('far'));
  harness.arrive(frameOf(['b']));
  harness.arrive(frameOf(['b']));
  return harness;
}

describe('the invariants of a coordinator', () => {
  it('hold in the midst of writes', () => {
    expect(() => busyHarness().tick()).not.toThrow();
  });

  it.each(sabotages)('notice that $claim', ({ claim, spoil }) => {
    const harness = busyHarness();
    spoil(harness.core.internals, harness);
    expect(() => harness.tick()).toThrow(InvariantViolation);
    const again = busyHarness();
    spoil(again.core.internals, again);
    expect(() => again.tick()).toThrow(claim);
  });
});

function lastFlightOf(link: RegionLink | undefined): number {
  return [...(link?.flights.keys() ?? [])].at(-1) ?? 0;
}

/** The map is read-only for everybody else. */
function dropLock(locks: ReadonlyMap<string, unknown>): void {
  if (locks instanceof Map) locks.delete('b');
}
