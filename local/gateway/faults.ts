/** Fault injection for gateways: rules for single requests, and the state of a gateway's network. */
import type { Asked } from './protocol.ts';

/** A request in the view of a fault rule. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly asked: Asked;
  /** The body as text. */
  readonly text: string;
}

/** A fault of one request at one gateway. `executed`: it occurs after the commands ran. */
export type Fault =
  /** The connection is reset before the request is read. */
  | { readonly kind: 'refuse' }
  /** The connection is reset, before or after the commands ran. */
  | { readonly kind: 'drop'; readonly executed: boolean }
  /** The request is never answered. */
  | { readonly kind: 'hang'; readonly executed: boolean }
  /** The request waits until the promise settles, and then continues. */
  | { readonly kind: 'hold'; readonly executed: boolean; readonly until: Promise<unknown> }
  /** A response that no Redis gives. */
  | { readonly kind: 'garbage'; readonly executed: boolean; readonly answer: Garbage }
  /** A delay before the commands run, or before the response leaves, in ms. */
  | { readonly kind: 'slow'; readonly ms: number; readonly executed?: boolean }
  /** The commands run twice, and the first reply is returned. `laterMs`: the second time is that long after the first. */
  | { readonly kind: 'duplicate'; readonly laterMs?: number };

/** Responses of broken proxies: a page or truncated JSON with status 200, and a status 500 without JSON. */
export type Garbage = 'page' | 'broken-json' | 'status-500';

/** A fault, and the requests that it applies to. */
export interface FaultRule {
  readonly fault: Fault;
  /**
   * Applies to requests for which this returns true; by default to all. A malformed request matches only without it.
   */
  readonly matches?: (request: SeenRequest) => boolean;
  /** The number of requests that it applies to; by default all until it is removed. */
  readonly times?: number;
}

/** An active rule. */
export interface FaultHandle {
  /** How many requests have met it. */
  readonly hits: number;
  /** Resolves when it first applies to a request; if `executed`, after the commands ran. */
  readonly hit: Promise<void>;
  remove(): void;
}

interface ActiveRule {
  readonly rule: FaultRule;
  readonly resolveHit: () => void;
  left: number;
  hits: number;
}

/** A fault that applies to a request. Call `reached` at the point at which the fault acts. */
export interface MetFault {
  readonly fault: Fault;
  readonly reached: () => void;
}

/** The state of the network between a gateway and its clients. */
export interface Line {
  /**
   * `cut`: no request arrives, and its sender gets no response. `answers-lost`: requests arrive and run, but their
   * senders get no response.
   */
  readonly reach: 'whole' | 'cut' | 'answers-lost';
  /** The delay that is added to each request's round trip, in ms. */
  readonly slowMs: number;
}

/** Draws the fault of a request that no rule applies to; null for none. */
export type DrawFault = (request: SeenRequest) => Fault | null;

/** A line without faults. */
export const wholeLine: Line = { reach: 'whole', slowMs: 0 };

/** The faults of one gateway. The oldest matching rule applies; without one, the state of the line, then the weather. */
export class Faults {
  private rules: ActiveRule[] = [];
  private currentLine = wholeLine;
  private weather: DrawFault | null = null;
  /** The number of requests, or responses, lost on the line. */
  lostOnLine = 0;

  get line(): Line {
    return this.currentLine;
  }

  /** Changes the line for future requests. Those that were lost stay lost. */
  setLine(change: Partial<Line>): void {
    this.currentLine = { ...this.currentLine, ...change };
  }

  /** Draws a fault for each future request that meets no other. */
  setWeather(weather: DrawFault): void {
    this.weather = weather;
  }

  /** Adds a rule for future requests. */
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

  /** Removes all rules and the weather, and restores the line. Requests that a fault holds stay held. */
  clear(): void {
    this.rules = [];
    this.weather = null;
    this.currentLine = wholeLine;
  }

  /** The fault that resets a connection before a request is read, if a rule for all requests has it. */
  onConnection(): MetFault | null {
    return this.take((rule) => rule.fault.kind === 'refuse' && rule.matches === undefined);
  }

  /** The fault of `request`, if any. Null stands for a malformed request. */
  onRequest(request: SeenRequest | null): MetFault | null {
    const met = this.take((rule) => {
      if (rule.matches === undefined) return true;
      return request !== null && rule.matches(request);
    });
    return met ?? this.metOnLine() ?? this.metInWeather(request);
  }

  /** The fault of the line. A lost request is not delayed as well. */
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

  private metInWeather(request: SeenRequest | null): MetFault | null {
    const fault = request === null ? null : (this.weather?.(request) ?? null);
    return fault === null ? null : { fault, reached: () => {} };
  }

  private take(applies: (rule: FaultRule) => boolean): MetFault | null {
    const active = this.rules.find(({ rule, left }) => left > 0 && applies(rule));
    if (active === undefined) return null;
    active.left -= 1;
    active.hits += 1;
    return { fault: active.rule.fault, reached: active.resolveHit };
  }
}
