import { describe, expect, it } from 'vitest';
import type { Operation } from '../../shared/contracts/frame.ts';
import { isGrowing } from '../../shared/contracts/growing.ts';
import type { RoundReply } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import type { SentRound } from '../../shared/protocol/io/ready.ts';
import { CoreHarness, frameOf, timing } from './core-harness.ts';

const lasting = { notAfter: Number.MAX_SAFE_INTEGER };
const denied = {
  kind: 'denied',
  code: 'OOM',
  reason: 'OOM out of memory',
  part: 0,
} as const;

/** Takes no memory. */
function deleting(key: string): Operation {
  return { kind: 'delete', args: ['DEL', key], writes: [1], reads: [], reply: null, seed: null };
}

/** The answer of a region that is out of memory, or is not. */
function answerOf({ round }: SentRound, isFull: boolean): Partial<RoundReply> {
  const grows = round.prepares.some(({ parts }) =>
    parts.some(({ operations }) => operations.some(isGrowing)),
  );
  const isAsked = grows || round.role !== 'voter';
  const votes = isFull && grows ? { votes: round.prepares.map(() => denied) } : {};
  const isWritten = isFull && round.copy?.kind === 'write';
  const failed = [{ key: 'a', reason: 'OOM out of memory' }];
  const copy = isWritten ? { copy: { kind: 'written', failed } as const } : {};
  return { isFull: isAsked ? isFull : null, ...votes, ...copy };
}

/** Lets `ms` pass in which `full` are out of memory, and all regions but the silent ones answer at once. */
function runFull(
  harness: CoreHarness,
  ms: number,
  full: readonly string[],
  silent: readonly string[] = [],
) {
  for (const until = harness.now + ms; ; harness.advance(10)) {
    for (let turn = 0; turn < 20; turn++) {
      for (const send of harness.flights) {
        if (!silent.includes(send.region))
          harness.execute(send, answerOf(send, full.includes(send.region)));
      }
    }
    if (harness.now >= until) return;
  }
}

// R31: a server's refusals are no usable answer, so one that goes on refusing must not stop all writes.
describe('a voter whose server is out of memory', () => {
  it('is evicted after outAfterMs, with its reason, and the others decide the write', () => {
    const harness = CoreHarness.calm();
    const ticket = harness.arrive(frameOf(['a'], lasting));
    runFull(harness, timing.outAfterMs - 100, ['far']);
    expect(harness.statusOf('far')).toMatchObject({
      state: 'voter',
      health: 'refusing',
      detail: expect.stringContaining('out of memory'),
    });
    runFull(harness, 100 + 2 * limits.retryBackoffMaxMs, ['far']);
    expect(harness.statusOf('far')).toMatchObject({
      state: 'out',
      cause: 'refusing',
      held: false,
      missedKeys: 1,
      detail: expect.stringContaining('out of memory'),
    });
    expect(harness.record(ticket).votes.map(({ region }) => region)).toEqual(['near', 'middle']);
    expect(harness.changes.map(({ event, cause }) => [event, cause])).toContainEqual([
      'out',
      'refusing',
    ]);
  });

  it('executes commands that take no memory, which do not count as the end of its refusals', () => {
    const harness = CoreHarness.calm();
    harness.arrive(frameOf(['a'], lasting));
    for (let waited = 0; waited <= timing.outAfterMs + limits.retryBackoffMaxMs; waited += 200) {
      const ticket = harness.arrive(frameOf(['b'], { operations: [deleting('b')] }));
      runFull(harness, 200, ['far']);
      expect(harness.record(ticket).outcome).toBe('committed');
    }
    expect(harness.statusOf('far').state).toBe('out');
  });

  it('stays if it accepts a write again before that', () => {
    const harness = CoreHarness.calm();
    const ticket = harness.arrive(frameOf(['a'], lasting));
    runFull(harness, timing.outAfterMs - 100, ['far']);
    runFull(harness, limits.retryBackoffMaxMs, []);
    expect(harness.record(ticket).votes).toHaveLength(3);
    harness.arrive(frameOf(['a'], lasting));
    runFull(harness, timing.outAfterMs - 100, ['far']);
    expect(harness.statusOf('far').state).toBe('voter');
  });

  it('stays if its refusals are far apart', () => {
    const harness = CoreHarness.calm();
    for (let time = 0; time < 3; time++) {
      harness.arrive(frameOf(['a'], { notAfter: harness.now + 20 }));
      runFull(harness, 50, ['far']);
      harness.run(limits.refusalsApartMs + 1);
    }
    expect(harness.changes).toEqual([]);
  });

  it('returns by itself once it has memory, and is not copied before that', () => {
    const harness = CoreHarness.calm();
    harness.arrive(frameOf(['a'], lasting));
    runFull(harness, timing.outAfterMs + limits.retryBackoffMaxMs, ['far']);
    runFull(harness, limits.fullCopyPauseMs / 2, ['far']);
    const copies = () => harness.changes.filter(({ event }) => event === 'copying').length;
    expect(copies()).toBeLessThanOrEqual(1);
    runFull(harness, 2 * limits.outProbeBackoffMaxMs, []);
    expect(harness.statusOf('far')).toMatchObject({ state: 'voter', cause: null });
  });

  it('does not vote again while it is full, though it has missed nothing', () => {
    const harness = CoreHarness.calm();
    harness.arrive(frameOf(['a'], { notAfter: harness.now + timing.outAfterMs + 100 }));
    harness.command({ kind: 'put-out', region: 'far', reason: 'for a test' });
    runFull(harness, 200, ['far']);
    harness.command({ kind: 'return', region: 'far', whole: false, force: false });
    runFull(harness, limits.fullCopyPauseMs / 2, ['far']);
    expect(harness.statusOf('far').state).toBe('out');
    expect(harness.changes.filter(({ event }) => event === 'copying').length).toBeLessThanOrEqual(
      2,
    );
  });

  it('stays if too few voters would remain, and the write is refused by name', () => {
    const harness = CoreHarness.calm({ minVoters: 3 });
    const ticket = harness.arrive(frameOf(['a'], lasting));
    runFull(harness, 200, ['far']);
    expect(harness.answerTo(ticket)).toMatchObject({
      kind: 'unavailable',
      code: 'full',
      faults: [{ region: 'far', reason: expect.stringContaining('out of memory') }],
    });
    runFull(harness, 2 * timing.outAfterMs, ['far']);
    expect(harness.statusOf('far').state).toBe('voter');
  });

  it('stays while the others are silent', () => {
    const harness = CoreHarness.calm();
    harness.arrive(frameOf(['a'], lasting));
    runFull(harness, timing.outAfterMs / 2, ['far'], ['near', 'middle']);
    expect(harness.statusOf('far').state).toBe('voter');
  });
});

describe('every voter out of memory', () => {
  it('refuses commands that take memory at once, naming each voter, and evicts none', () => {
    const harness = CoreHarness.calm();
    const ticket = harness.arrive(frameOf(['a'], lasting));
    runFull(harness, 100, harness.regions);
    const answer = harness.answerTo(ticket);
    expect(answer).toMatchObject({ kind: 'unavailable', code: 'full' });
    const faults = answer?.kind === 'unavailable' ? answer.faults.map(({ region }) => region) : [];
    expect(faults.toSorted()).toEqual([...harness.regions].sort());
    for (let waited = 0; waited < 3 * timing.outAfterMs; waited += 500) {
      harness.arrive(frameOf(['a'], lasting));
      runFull(harness, 500, harness.regions);
    }
    expect(harness.changes).toEqual([]);
  });

  it('keeps the voters that have memory again a moment later than the first', () => {
    const harness = CoreHarness.calm();
    for (let waited = 0; waited < 2 * timing.outAfterMs; waited += 500) {
      harness.arrive(frameOf(['a'], lasting));
      runFull(harness, 500, harness.regions);
    }
    const ticket = harness.arrive(frameOf(['a'], lasting));
    runFull(harness, timing.outAfterMs / 2, ['far']);
    expect(harness.statusOf('far').state).toBe('voter');
    runFull(harness, limits.retryBackoffMaxMs, []);
    expect(harness.record(ticket).votes).toHaveLength(3);
    expect(harness.changes).toEqual([]);
  });

  it('carries out commands that take no memory, also beside commands that do', () => {
    const harness = CoreHarness.calm();
    const tickets = harness.arriveTogether([
      frameOf(['a'], lasting),
      frameOf(['a'], { ...lasting, operations: [deleting('a')] }),
    ]);
    runFull(harness, 200, harness.regions);
    const [refused, done] = tickets;
    expect(harness.answerTo(refused ?? 0)).toMatchObject({ kind: 'unavailable', code: 'full' });
    expect(harness.record(done ?? 0).outcome).toBe('committed');
  });
});

describe('a voter whose server refuses to write', () => {
  const readOnly = { kind: 'silent', reason: 'READONLY', code: 'READONLY' } as const;

  it('is evicted though it answers the probes in between', () => {
    const harness = CoreHarness.calm();
    const ticket = harness.arrive(frameOf(['a'], lasting));
    for (let waited = 0; waited <= timing.outAfterMs + 2 * limits.probeBackoffMaxMs; waited += 10) {
      for (const send of harness.flights) {
        const isProbe = send.round.prepares.length + send.round.decisions.length === 0;
        if (send.region === 'far' && !isProbe) harness.end(send, readOnly);
        else harness.execute(send);
      }
      harness.advance(10);
    }
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'refusing' });
    expect(harness.record(ticket).votes).toHaveLength(2);
  });

  it('is named as refusing if it answers nothing else', () => {
    const harness = CoreHarness.calm();
    harness.arrive(frameOf(['a'], lasting));
    for (let waited = 0; waited <= timing.outAfterMs; waited += 10) {
      for (const send of harness.flights) {
        if (send.region === 'far') harness.end(send, readOnly);
        else harness.execute(send);
      }
      harness.advance(10);
    }
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'refusing' });
    expect(harness.statusOf('far').detail).toContain('READONLY');
  });
});
