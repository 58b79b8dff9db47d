import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { CoreHarness, frameOf, timing } from './core-harness.ts';
import { itemOf, readingOf, yes } from './replies.ts';
import { outOf, voterOf } from './stored.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };
const without = (missed: readonly (readonly [string, number])[] = []) => {
  const regions = [voterOf('near'), voterOf('middle'), outOf('far')];
  const harness = new CoreHarness({
    stored: { sequence: 9, regions, missed: [{ region: 'far', keys: missed }] },
  });
  harness.tick();
  harness.run(20, others);
  while (harness.flightsTo('far').length === 0) harness.run(10, others);
  return harness;
};

describe('a change of members that meets another one, a crash, or work under way', () => {
  it('prepares the waiting writes in the step that evicts a silent voter', () => {
    const harness = CoreHarness.calm();
    harness.arrive(frameOf(['a'], lasting));
    const lost = harness.flight('far');
    harness.run(timing.outAfterMs, others, [lost]);
    const step = harness.steps.find(({ persist }) =>
      persist.some(({ kind }) => kind === 'members'),
    );
    const prepares = step?.sends.filter(
      (send) => send.kind === 'round' && send.round.prepares.length > 0,
    );
    expect(prepares?.map(({ region }) => region).sort()).toEqual(['middle', 'near']);
  });
  it('prepares the waiting writes in the step that ends the write pause early', () => {
    const harness = without([['m', 9]]);
    harness.execute(harness.flight('far'));
    harness.execute(harness.flight('far'));
    const read = harness.flights.filter(({ round }) => round.copy?.kind === 'read');
    const ticket = harness.arrive(frameOf(['c'], lasting));
    expect(harness.core.status().held).toBe(true);
    harness.run(limits.copyWritePauseMs + 50, others, read);
    expect(harness.answerTo(ticket)).toBeDefined();
  });
  it('forgets a lost voter that is removed once it is evicted', () => {
    const harness = CoreHarness.calm();
    harness.requestLease('far');
    harness.run(0);
    harness.arrive(frameOf(['a'], lasting));
    harness.end(harness.flight('far'), { kind: 'refused', refusal: { kind: 'lost' } });
    expect(harness.command({ kind: 'remove', region: 'far' }).kind).toBe('taken');
    harness.run(20_000);
    expect(harness.core.status().regions.map(({ region }) => region)).toEqual(others);
  });
  it('keeps a voter evicted by an operator out, even if it needs a repair or has lost writes', () => {
    const harness = CoreHarness.calm();
    harness.command({ kind: 'repair', source: 'near', keys: [{ key: 'a', regions: ['far'] }] });
    expect(harness.command({ kind: 'put-out', region: 'far', reason: 'x' }).kind).toBe('taken');
    harness.run(20_000);
    expect(harness.statusOf('far').state).toBe('out');
  });
  it('decides nothing while a lease may last elsewhere after a force-recovery', () => {
    const harness = CoreHarness.calm();
    harness.requestLease(...harness.regions);
    harness.run(0);
    expect(harness.statusOf('far').leaseMs).toBe(limits.leaseTtlMs + limits.leaseDriftMs);
    harness.command({ kind: 'believe', region: 'near' });
    const ticket = harness.arrive(frameOf(['a'], lasting));
    const again = () => harness.arrive(frameOf(['a'], lasting));
    harness.run(500, ['near']);
    const second = again();
    harness.run(500, ['near']);
    expect(
      [harness.answerTo(ticket), harness.answerTo(second)].map((answer) => answer?.kind),
    ).not.toContain('decided');
  });
  it('ends the block by a repair, though a write arrives before the regions have left', () => {
    const harness = CoreHarness.calm({ regions: ['near', 'far'] });
    harness.requestLease('far');
    harness.run(0);
    const diverge = () => {
      for (const send of harness.flights) {
        if (send.round.prepares.length > 0)
          harness.execute(send, { votes: [yes([''], send.region === 'near' ? '[0,1]' : '[0,2]')] });
      }
    };
    harness.arrive(frameOf(['a'], lasting));
    diverge();
    expect(harness.core.status().blockedKeys).toBe(1);
    harness.command({ kind: 'repair', source: 'near', keys: [{ key: 'a', regions: ['far'] }] });
    harness.arrive(frameOf(['a'], lasting));
    diverge();
    harness.run(20_000);
    expect(harness.statusOf('far').state).toBe('voter');
    expect(harness.core.status().blockedKeys).toBe(0);
  });
  it('keeps the instance busy while a lost voter has not left', () => {
    const harness = CoreHarness.calm();
    harness.arrive(frameOf(['a'], { notAfter: harness.now + 200 }));
    const rig2 = harness;
    rig2.end(harness.flight('far'), { kind: 'refused', refusal: { kind: 'lost' } });
    const again = harness.restarted();
    again.tick();
    again.run(1_000, others);
    expect(again.statusOf('far').state).toBe('voter');
    expect(again.core.busy).toBe(true);
  });
  it('remembers a force-recovered region after a crash', () => {
    const harness = CoreHarness.calm();
    harness.command({ kind: 'believe', region: 'near' });
    const again = harness.restarted();
    again.tick();
    again.run(30_000);
    expect(again.statusOf('near').state).toBe('voter');
  });
  it('resumes a scan after its only source failed to answer once', () => {
    const regions = [voterOf('near'), outOf('far', { cause: 'lost', whole: true })];
    const harness = new CoreHarness({ regions: ['near', 'far'], stored: { regions } });
    harness.tick();
    harness.run(20, ['near']);
    while (harness.flightsTo('far').length === 0) harness.run(10, ['near']);
    // The probe, the start of the copy, and the list of keys that may have to be removed.
    for (let round = 0; round < 3; round++) harness.execute(harness.flight('far'));
    harness.execute(harness.flight('near'), {
      copy: readingOf(['a'], { cursor: '17', total: 1000 }),
    });
    harness.silence(harness.flight('near'));
    harness.executeAll(['far']);
    harness.run(limits.probeBackoffMinMs - 1, []);
    harness.advance(1);
    harness.execute(harness.flight('near'));
    expect(harness.flight('near').round.copy).toMatchObject({ kind: 'scan', cursor: '17' });
  });
  it('copies a large value without delaying writes for all of it', () => {
    const harness = without([['m', 9]]);
    harness.execute(harness.flight('far'));
    harness.execute(harness.flight('far'));
    let heldSteps = 0;
    let pieces = 0;
    for (let at = 0; at < 6_000 && pieces < 100; at += 10) {
      for (const send of harness.flights) {
        if (send.round.copy?.kind === 'read') {
          pieces += 1;
          harness.execute(send, { copy: readingOf([], { items: [itemOf('m', `${pieces}`)] }) });
        } else harness.execute(send);
      }
      harness.advance(10);
      if (harness.core.status().held) heldSteps += 1;
    }
    expect({ pieces, heldMs: heldSteps * 10 }).toEqual({ pieces: 100, heldMs: 0 });
  });
  it('ends a copy if its region is removed', () => {
    const harness = without([['m', 9]]);
    harness.execute(harness.flight('far'));
    harness.command({ kind: 'remove', region: 'far' });
    harness.run(5_000);
    expect(harness.core.status().held).toBe(false);
    expect(harness.core.status().regions.map(({ region }) => region)).toEqual(others);
  });
});
