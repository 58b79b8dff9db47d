import type { Asked } from './protocol.ts';

/** A request as a fault rule sees it. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly asked: Asked;
  /** The body as text. */
  readonly text: string;
}

/** Something that goes wrong with one request at one gateway. `executed` says on which side of Redis it happens. */
export type Fault =
  /** The connection is reset before the request is read. */
  | { readonly kind: 'refuse' }
  /** The connection is reset, before or after the commands ran. */
  | { readonly kind: 'drop'; readonly executed: boolean }
  /** No answer ever comes. */
  | { readonly kind: 'hang'; readonly executed: boolean }
  /** The request waits until the promise is settled, then goes on as if nothing had been. */
  | { readonly kind: 'hold'; readonly executed: boolean; readonly until: Promise<unknown> }
  /** An answer that no Redis gave. */
  | { readonly kind: 'garbage'; readonly executed: boolean; readonly answer: Garbage }
  /** So many ms more before the commands run. */
  | { readonly kind: 'slow'; readonly ms: number }
  /** The commands run twice, and the first answer is given. */
  | { readonly kind: 'duplicate' };

/** Answers seen from broken proxies: a page under status 200, JSON cut short under status 200, a plain status 500. */
export type Garbage = 'page' | 'broken-json' | 'status-500';

/** Which requests meet a fault. */
export interface FaultRule {
  readonly fault: Fault;
  /** Only requests for which this holds; all by default. A request that cannot be read matches only without it. */
  readonly matches?: (request: SeenRequest) => boolean;
  /** How many requests meet it; until it is removed by default. */
  readonly times?: number;
}

/** A fault rule in force. */
export interface FaultHandle {
  /** How many requests have met it. */
  readonly hits: number;
  /** Resolves when the first request meets it; for `executed` faults that is after its commands ran. */
  readonly hit: Promise<void>;
  remove(): void;
}

interface ActiveRule {
  readonly rule: FaultRule;
  readonly resolveHit: () => void;
  left: number;
  hits: number;
}

/** A fault that a request has met. Call `reached` once it is at the point where the fault acts. */
export interface MetFault {
  readonly fault: Fault;
  readonly reached: () => void;
}

/** How the network between a gateway and all who call it does. */
export interface Line {
  /**
   * `cut`: no request arrives, and its sender waits in vain. `answers-lost`: requests arrive and run, and their senders
   * wait in vain.
   */
  readonly reach: 'whole' | 'cut' | 'answers-lost';
  /** Added to each request's round trip, ms. */
  readonly slowMs: number;
}

/** A line with nothing the matter. */
export const wholeLine: Line = { reach: 'whole', slowMs: 0 };

/** The faults of one gateway. Of several rules that match a request the oldest applies; of the line's, if none does. */
export class Faults {
  private rules: ActiveRule[] = [];
  private currentLine = wholeLine;
  /** How many requests the line has swallowed, or their answers. */
  lostOnLine = 0;

  get line(): Line {
    return this.currentLine;
  }

  /** Changes the line for requests that arrive from now on. Those that were lost on it stay lost. */
  setLine(change: Partial<Line>): void {
    this.currentLine = { ...this.currentLine, ...change };
  }

  /** Puts a rule in force for requests that arrive from now on. */
  add(rule: FaultRule): FaultHandle {
    const { promise, resolve } = Promise.withResolvers<void>();
    const active: ActiveRule = {
      rule,
      resolveHit: resolve,
      left: rule.times ?? Number.POSITIVE_INFINITY,
      hits: 0,
    };
    this.rules.push(active);
    return {
      get hits() {
        return active.hits;
      },
      hit: promise,
      remove: () => {
        this.rules = this.rules.filter((other) => other !== active);
      },
    };
  }

  /** Removes all rules and makes the line whole. Requests that a fault already holds stay held. */
  clear(): void {
    this.rules = [];
    this.currentLine = wholeLine;
  }

  /** The fault that resets connections before anything is read, if one is in force for every request. */
  onConnection(): MetFault | null {
    return this.take((rule) => rule.fault.kind === 'refuse' && rule.matches === undefined);
  }

  /** The fault that `request` meets, if any; null stands for a request that could not be read. */
  onRequest(request: SeenRequest | null): MetFault | null {
    const met = this.take((rule) => {
      if (rule.matches === undefined) return true;
      return request !== null && rule.matches(request);
    });
    return met ?? this.metOnLine();
  }

  /** What a request meets on the line. One that is lost need not be slow too. */
  private metOnLine(): MetFault | null {
    const { reach, slowMs } = this.currentLine;
    if (reach === 'whole') {
      return slowMs > 0 ? { fault: { kind: 'slow', ms: slowMs }, reached: () => {} } : null;
    }
    const reached = () => {
      this.lostOnLine += 1;
    };
    return { fault: { kind: 'hang', executed: reach === 'answers-lost' }, reached };
  }

  private take(applies: (rule: FaultRule) => boolean): MetFault | null {
    const active = this.rules.find(({ rule, left }) => left > 0 && applies(rule));
    if (active === undefined) return null;
    active.left -= 1;
    active.hits += 1;
    return { fault: active.rule.fault, reached: active.resolveHit };
  }
}
