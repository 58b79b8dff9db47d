import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { frameOf, Rig, type RigOptions, timing } from './core-harness.ts';
import { itemOf, readingOf, yes } from './replies.ts';
import { outOf, voterOf } from './stored.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };
function calm(options: RigOptions = {}): Rig {
  const rig = Rig.greeted(options);
  rig.run(limits.leaseTtlMs + limits.leaseDriftMs);
  return rig;
}
const without = (missed: readonly (readonly [string, number])[] = []) => {
  const regions = [voterOf('near'), voterOf('middle'), outOf('far')];
  const rig = new Rig({
    stored: { sequence: 9, regions, missed: [{ region: 'far', keys: missed }] },
  });
  rig.tick();
  rig.run(20, others);
  while (rig.flightsTo('far').length === 0) rig.run(10, others);
  return rig;
};

describe('a change of members that meets another one, a crash, or work under way', () => {
  it('what waited for a silent voter is prepared in the step that puts it out', () => {
    const rig = calm();
    rig.arrive(frameOf(['a'], lasting));
    const lost = rig.flight('far');
    rig.run(timing.outAfterMs, others, [lost]);
    const step = rig.steps.find(({ persist }) => persist.some(({ kind }) => kind === 'members'));
    const prepares = step?.sends.filter(
      (send) => send.kind === 'round' && send.round.prepares.length > 0,
    );
    expect(prepares?.map(({ region }) => region).sort()).toEqual(['middle', 'near']);
  });
  it('what waited for a hold is prepared in the step that gives the hold up', () => {
    const rig = without([['m', 9]]);
    rig.execute(rig.flight('far'));
    rig.execute(rig.flight('far'));
    const read = rig.flights.filter(({ round }) => round.copy?.kind === 'read');
    const ticket = rig.arrive(frameOf(['c'], lasting));
    expect(rig.core.status().held).toBe(true);
    rig.run(limits.copyWritePauseMs + 50, others, read);
    expect(rig.told(ticket)).toBeDefined();
  });
  it('a lost voter that is removed is forgotten once it is out', () => {
    const rig = calm();
    rig.want('far');
    rig.run(0);
    rig.arrive(frameOf(['a'], lasting));
    rig.end(rig.flight('far'), { kind: 'refused', refusal: { kind: 'lost' } });
    expect(rig.order({ kind: 'remove', region: 'far' }).kind).toBe('taken');
    rig.run(20_000);
    expect(rig.core.status().regions.map(({ region }) => region)).toEqual(others);
  });
  it('a voter that is to be repaired or has lost writes stays out where it is ordered so', () => {
    const rig = calm();
    rig.order({ kind: 'repair', source: 'near', keys: [{ key: 'a', regions: ['far'] }] });
    expect(rig.order({ kind: 'put-out', region: 'far', reason: 'x' }).kind).toBe('taken');
    rig.run(20_000);
    expect(rig.statusOf('far').state).toBe('out');
  });
  it('nothing is decided while a lease may last elsewhere, after an operator named a region to believe', () => {
    const rig = calm();
    rig.want(...rig.regions);
    rig.run(0);
    expect(rig.statusOf('far').leaseMs).toBe(limits.leaseTtlMs + limits.leaseDriftMs);
    rig.order({ kind: 'believe', region: 'near' });
    const ticket = rig.arrive(frameOf(['a'], lasting));
    const again = () => rig.arrive(frameOf(['a'], lasting));
    rig.run(500, ['near']);
    const second = again();
    rig.run(500, ['near']);
    expect([rig.told(ticket), rig.told(second)].map((answer) => answer?.kind)).not.toContain(
      'decided',
    );
  });
  it('a repair ends the block though a write comes before the regions have left', () => {
    const rig = calm({ regions: ['near', 'far'] });
    rig.want('far');
    rig.run(0);
    const diverge = () => {
      for (const send of rig.flights) {
        if (send.round.prepares.length > 0)
          rig.execute(send, { votes: [yes([''], send.region === 'near' ? '[0,1]' : '[0,2]')] });
      }
    };
    rig.arrive(frameOf(['a'], lasting));
    diverge();
    expect(rig.core.status().blockedKeys).toBe(1);
    rig.order({ kind: 'repair', source: 'near', keys: [{ key: 'a', regions: ['far'] }] });
    rig.arrive(frameOf(['a'], lasting));
    diverge();
    rig.run(20_000);
    expect(rig.statusOf('far').state).toBe('voter');
    expect(rig.core.status().blockedKeys).toBe(0);
  });
  it('a lost voter that has not left keeps the instance busy', () => {
    const rig = calm();
    rig.arrive(frameOf(['a'], { notAfter: rig.now + 200 }));
    const rig2 = rig;
    rig2.end(rig.flight('far'), { kind: 'refused', refusal: { kind: 'lost' } });
    const again = rig.restarted();
    again.tick();
    again.run(1_000, others);
    expect(again.statusOf('far').state).toBe('voter');
    expect(again.core.busy).toBe(true);
  });
  it('a believed region is believed still after a crash', () => {
    const rig = calm();
    rig.order({ kind: 'believe', region: 'near' });
    const again = rig.restarted();
    again.tick();
    again.run(30_000);
    expect(again.statusOf('near').state).toBe('voter');
  });
  it('a scan goes on where it was, where its only source failed to answer once', () => {
    const regions = [voterOf('near'), outOf('far', { cause: 'lost', whole: true })];
    const rig = new Rig({ regions: ['near', 'far'], stored: { regions } });
    rig.tick();
    rig.run(20, ['near']);
    while (rig.flightsTo('far').length === 0) rig.run(10, ['near']);
    // The probe, the beginning of the copy, and the list of what may have to be removed.
    for (let round = 0; round < 3; round++) rig.execute(rig.flight('far'));
    rig.execute(rig.flight('near'), { copy: readingOf(['a'], { cursor: '17', total: 1000 }) });
    rig.silence(rig.flight('near'));
    rig.executeAll(['far']);
    rig.run(limits.probeBackoffMinMs - 1, []);
    rig.advance(1);
    rig.execute(rig.flight('near'));
    expect(rig.flight('near').round.copy).toMatchObject({ kind: 'scan', cursor: '17' });
  });
  it('a large value is copied without holding up writes for all of it', () => {
    const rig = without([['m', 9]]);
    rig.execute(rig.flight('far'));
    rig.execute(rig.flight('far'));
    let heldSteps = 0;
    let pieces = 0;
    for (let at = 0; at < 6_000 && pieces < 100; at += 10) {
      for (const send of rig.flights) {
        if (send.round.copy?.kind === 'read') {
          pieces += 1;
          rig.execute(send, { copy: readingOf([], { items: [itemOf('m', `${pieces}`)] }) });
        } else rig.execute(send);
      }
      rig.advance(10);
      if (rig.core.status().held) heldSteps += 1;
    }
    expect({ pieces, heldMs: heldSteps * 10 }).toEqual({ pieces: 100, heldMs: 0 });
  });
  it('a copy ends where its region is removed', () => {
    const rig = without([['m', 9]]);
    rig.execute(rig.flight('far'));
    rig.order({ kind: 'remove', region: 'far' });
    rig.run(5_000);
    expect(rig.core.status().held).toBe(false);
    expect(rig.core.status().regions.map(({ region }) => region)).toEqual(others);
  });
});
