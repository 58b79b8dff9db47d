import type { TransactionOrder } from '../../shared/ids.ts';
import type { Ticket } from '../../shared/protocol/io/events.ts';
import { everyKey, flushedKey } from '../../shared/reserved-keys.ts';
import { frameOf, Rig } from './core-harness.ts';
import { linesOf, membersText } from './scenario-output.ts';
import { outOf, voterOf } from './stored.ts';

/**
 * Runs scenarios of the protocol that are written as text: commands, a line of dashes, and what the coordinator did.
 * Regions acknowledge each decision and say yes to each prepare unless a command says otherwise.
 */
export class Scenario {
  #rig = Rig.greeted();
  readonly #names = new Map<Ticket, string>();

  /** Carries out one command, and returns a line for each thing that the coordinator did, or what was asked for. */
  run(command: string): readonly string[] {
    const [verb = '', ...words] = command.split(/\s+/);
    const before = this.#rig.steps.length;
    const shown = this.#do(verb, words, command);
    if (shown !== null) return shown;
    const steps = this.#rig.steps.slice(before);
    return steps.flatMap((step) =>
      linesOf(step, (ticket) => this.#names.get(ticket) ?? `${ticket}`),
    );
  }

  #do(verb: string, words: readonly string[], command: string): readonly string[] | null {
    const rig = this.#rig;
    const [first = '', ...rest] = words;
    switch (verb) {
      case 'start':
        return this.#start(words);
      case 'write':
        this.#name(rig.arrive(frameOf(rest)), first);
        return null;
      case 'flush':
        this.#name(rig.arrive(frameOf([everyKey, flushedKey])), first);
        return null;
      case 'read':
        this.#name(rig.read({ keys: rest }), first);
        return null;
      case 'lease':
        rig.want(first);
        return null;
      case 'answer':
        for (const region of words) rig.execute(this.#oldest(region));
        return null;
      case 'refuse': {
        const [holder = '', key = ''] = rest;
        const vote = { kind: 'locked', key, holder: orderOf(holder) } as const;
        rig.execute(this.#oldest(first), { votes: [vote] });
        return null;
      }
      case 'lists': {
        const [transaction = '', ...keys] = rest;
        const lock = { transaction: orderOf(transaction), keys };
        rig.execute(this.#oldest(first), { older: [lock] });
        return null;
      }
      case 'holds':
        rig.count(this.#oldest(first), Number(rest[0]));
        return null;
      case 'lose':
        rig.silence(this.#oldest(first), 'no answer');
        return null;
      case 'snapshot':
        for (const lookup of rig.lookups) {
          rig.look(lookup, { kind: 'read', replies: [], locks: [] });
        }
        return null;
      case 'question':
        return (rig.ask([orderOf(first)]) ?? []).map(({ kind }) => `answer ${kind}`);
      case 'wait':
        rig.advance(Number(first));
        return null;
      case 'run':
        rig.run(Number(first), rest);
        return null;
      case 'crash':
        this.#rig = rig.restarted();
        this.#rig.tick();
        return this.run('since-crash');
      case 'since-crash':
        return this.#rig.steps.flatMap((step) => linesOf(step, String));
      case 'status':
        return membersText(rig.core.status());
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
    if (how === 'new') this.#rig = new Rig({ stored: { epoch: 0, regions: [] } });
    else if (how === 'without')
      this.#rig = new Rig({ stored: { epoch: 2, sequence: 4, regions, missed } });
    else this.#rig = new Rig();
    this.#rig.tick();
    return this.#rig.steps.flatMap((step) => linesOf(step, String));
  }

  #oldest(region: string) {
    const [send] = this.#rig.flightsTo(region);
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
