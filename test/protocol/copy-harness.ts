import type { CopyReply, CopyStep } from '../../shared/contracts/round.ts';
import { Copy, type CopyTurn } from '../../shared/protocol/membership/copy.ts';
import { RegionLink } from '../../shared/protocol/regions/region-link.ts';
import { copyReplyTo } from './replies.ts';
import { outOf, voterOf } from './stored.ts';

/** The time at which the copy begins, ms. */
export const startedAt = 50_000;

/** A copy between two links, whose steps are answered as the test says. */
export class CopyHarness {
  readonly target = new RegionLink(outOf('far'), Number.NEGATIVE_INFINITY, 0);
  readonly source = new RegionLink(voterOf('near'), Number.NEGATIVE_INFINITY, 0);
  readonly copy: Copy;
  /** The last assigned sequence. */
  sequence = 10;

  constructor(whole: boolean, missed: Readonly<Record<string, number>> = {}) {
    for (const [key, sequence] of Object.entries(missed)) this.target.missed.set(key, sequence);
    this.copy = new Copy(this.target, 'token', { whole, replaces: [6, 5], startedAt });
    this.copy.readFrom(this.source);
  }

  /** A copy that has begun at its target. */
  static begun(whole: boolean, missed: Readonly<Record<string, number>> = {}): CopyHarness {
    const harness = new CopyHarness(whole, missed);
    harness.answer(harness.atTarget());
    return harness;
  }

  /** A copy of everything that has begun at its target and has nothing to remove. */
  static listed(missed: Readonly<Record<string, number>> = {}): CopyHarness {
    const harness = CopyHarness.begun(true, missed);
    harness.answer(harness.atTarget());
    return harness;
  }

  /** A copy in the write pause for its last missed keys. */
  static paused(missed: Readonly<Record<string, number>>): CopyHarness {
    const harness = CopyHarness.begun(false, missed);
    harness.copy.phase = 'hold';
    return harness;
  }

  /** The next step at the target; it throws if there is none. */
  atTarget(): CopyStep {
    return this.#take(this.target);
  }

  atSource(): CopyStep {
    return this.#take(this.source);
  }

  /** True if nothing is to be done at `link` now. */
  isIdle(link: RegionLink): boolean {
    this.copy.plan(this.sequence, true);
    return link.copyStep === null;
  }

  answer(step: CopyStep, reply: CopyReply | null = copyReplyTo(step)): CopyTurn {
    return this.copy.onStepEnded(step, reply, this.sequence);
  }

  /** The source answers `reply` to its step, and the target executes the step that follows. Returns both steps. */
  move(reply?: CopyReply): readonly [read: CopyStep, write: CopyStep] {
    const read = this.atSource();
    this.answer(read, reply);
    const write = this.atTarget();
    this.answer(write);
    return [read, write];
  }

  /** The step sent to `other`, which becomes the source. */
  atOther(other: RegionLink): CopyStep | null {
    this.copy.readFrom(other);
    this.copy.plan(this.sequence, true);
    const step = other.copyStep;
    other.copyStep = null;
    return step;
  }

  #take(link: RegionLink): CopyStep {
    this.copy.plan(this.sequence, true);
    const step = link.copyStep;
    if (step === null) throw new Error(`nothing is to be done in ${link.region}`);
    link.copyStep = null;
    return step;
  }
}

/** A key in a request to a source. */
export const key = (name: string, from = '') => ({ key: name, from });
