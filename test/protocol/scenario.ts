import type { TransactionOrder } from '../../shared/ids.ts';
import type { Ticket } from '../../shared/protocol/io/events.ts';
import { everyKey, flushedKey } from '../../shared/reserved-keys.ts';
import { CoreHarness, frameOf } from './core-harness.ts';
import { linesOf, membersText } from './scenario-output.ts';
import { outOf, voterOf } from './stored.ts';

/**
 * Runs scenarios of the protocol that are written as text: commands, a line of dashes, and the effects that the
 * coordinator had. Regions acknowledge each decision and say yes to each prepare unless a command says otherwise.
 */
export class Scenario {
  #harness = CoreHarness.begun();
  readonly #names = new Map<Ticket, string>();

  /** Carries out one command, and returns a line per effect of the coordinator, or the requested state. */
  run(command: string): readonly string[] {
    const [verb = '', ...words] = command.split(/\s+/);
    const before = this.#harness.steps.length;
    const shown = this.#do(verb, words, command);
    if (shown !== null) return shown;
    const steps = this.#harness.steps.slice(before);
    return steps.flatMap((step) =>
      linesOf(step, (ticket) => this.#names.get(ticket) ?? `${ticket}`),
    );
  }

  #do(verb: string, words: readonly string[], command: string): readonly string[] | null {
    const harness = this.#harness;
    const [first = '', ...rest] = words;
    switch (verb) {
      case 'start':
        return this.#start(words);
      case 'write':
        this.#name(harness.arrive(frameOf(rest)), first);
        return null;
      case 'flush':
        this.#name(harness.arrive(frameOf([everyKey, flushedKey])), first);
        return null;
      case 'read':
        this.#name(harness.read({ keys: rest }), first);
        return null;
      case 'lease':
        harness.requestLease(first);
        return null;
      case 'answer':
        for (const region of words) harness.execute(this.#oldest(region));
        return null;
      case 'refuse': {
        const [holder = '', key = ''] = rest;
        const vote = { kind: 'locked', key, holder: orderOf(holder) } as const;
        harness.execute(this.#oldest(first), { votes: [vote] });
        return null;
      }
      case 'lists': {
        const [transaction = '', ...keys] = rest;
        const lock = { transaction: orderOf(transaction), keys };
        harness.execute(this.#oldest(first), { older: [lock] });
        return null;
      }
      case 'holds':
        harness.reportKeys(this.#oldest(first), Number(rest[0]));
        return null;
      case 'lose':
        harness.silence(this.#oldest(first), 'no answer');
        return null;
      case 'snapshot':
        for (const lookup of harness.snapshots) {
          harness.endSnapshot(lookup, { kind: 'read', replies: [], locks: [] });
        }
        return null;
      case 'question':
        return (harness.resolve([orderOf(first)]) ?? []).map(({ kind }) => `answer ${kind}`);
      case 'wait':
        harness.advance(Number(first));
        return null;
      case 'run':
        harness.run(Number(first), rest);
        return null;
      case 'crash':
        this.#harness = harness.restarted();
        this.#harness.tick();
        return this.run('since-crash');
      case 'since-crash':
        return this.#harness.steps.flatMap((step) => linesOf(step, String));
      case 'status':
        return membersText(harness.core.status());
      default:
        throw new Error(`no such command: ${command}`);
    }
  }

  #start(words: readonly string[]): readonly string[] {
    const [how, region = ''] = words;
    const missed = [{ region, keys: words.slice(2).map((key) => [key, 4] as const) }];
    const regions = ['near', 'middle', 'far'].map((one) =>
      one === region ? outOf(one) : voterOf(one),
    );
    if (how === 'new') this.#harness = new CoreHarness({ stored: { epoch: 0, regions: [] } });
    else if (how === 'without')
      this.#harness = new CoreHarness({ stored: { epoch: 2, sequence: 4, regions, missed } });
    else this.#harness = new CoreHarness();
    this.#harness.tick();
    return this.#harness.steps.flatMap((step) => linesOf(step, String));
  }

  #oldest(region: string) {
    const [send] = this.#harness.flightsTo(region);
    if (send === undefined) throw new Error(`no round is on its way to ${region}`);
    return send;
  }

  #name(ticket: Ticket, name: string): void {
    this.#names.set(ticket, name);
  }
}

/** `3.1` is the first transaction of the third incarnation. */
function orderOf(text: string): TransactionOrder {
  const [incarnation = 0, sequence = 0] = text.split('.').map(Number);
  return [incarnation, sequence];
}
