/** The playground of `npm start`: keys that act on regions, and a status line per region. */
import process from 'node:process';
import type { Stack, StackRegion } from '../stack/stack.ts';
import { performAction } from './actions.ts';
import type { PlayAction, RegionAction } from './keys.ts';
import { actionsOf, keyHelp } from './keys.ts';
import type { Screen } from './screen.ts';
import type { Paint } from './timeline.ts';
import type { PlayedRegion, RegionReport, SampleAnswer, WriteOutcome } from './view.ts';
import { statusLine, writeText } from './view.ts';

/** The part of a terminal's keyboard that is used. */
export interface Keyboard {
  setRawMode(isRaw: boolean): unknown;
  setEncoding(encoding: 'utf8'): unknown;
  on(event: 'data', listener: (input: string) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  resume(): unknown;
  pause(): unknown;
}

/** The stack to play with, and the terminal. */
export interface PlayOptions {
  readonly stack: Pick<Stack, 'url' | 'tokens' | 'regions'>;
  readonly keyboard: Keyboard;
  readonly screen: Screen;
  readonly paint: Paint;
  /** Called for the keys that quit, after raw mode has ended. */
  readonly quit: () => void;
}

/** A running playground. */
export interface Play {
  /** Restores the terminal at once, and resolves when no action on a region is in progress. */
  end(): Promise<void>;
}

/** Starts to listen to keys, until `end`, a key that quits, or the end of this process. */
export function startPlay(options: PlayOptions): Play {
  const playing = new Playing(options);
  playing.start();
  return playing;
}

/** The pause between two requests for the state of the regions, in ms. */
const lookEveryMs = 500;
/** The timeout of such a request, in ms. */
const lookPatienceMs = 2_000;
/** The key that `g` increments. */
const sampleKey = 'plays';

class Playing implements Play {
  private readonly options: PlayOptions;
  private readonly over = new AbortController();
  private readonly working = new Set<Promise<void>>();
  /** The last action on each region, for which the next one waits. */
  private readonly last = new Map<StackRegion, Promise<void>>();
  private readonly restoreTerminal: () => void;
  private reports: readonly RegionReport[] = [];
  private chosen = 0;
  private timer: NodeJS.Timeout | null = null;
  private ended: Promise<void> | null = null;

  constructor(options: PlayOptions) {
    this.options = options;
    this.restoreTerminal = () => options.keyboard.setRawMode(false);
  }

  start(): void {
    const { keyboard, screen } = this.options;
    // A closed terminal has no input and cannot be restored.
    keyboard.on('error', () => {});
    keyboard.on('data', (input) => this.press(input));
    keyboard.setEncoding('utf8');
    keyboard.setRawMode(true);
    process.once('exit', this.restoreTerminal);
    keyboard.resume();
    screen.say(['', 'Keys', ...this.help(), ''].join('\n'));
    this.redraw();
    void this.look();
  }

  end(): Promise<void> {
    this.ended ??= this.finish();
    return this.ended;
  }

  private async finish(): Promise<void> {
    this.over.abort();
    if (this.timer !== null) clearTimeout(this.timer);
    process.removeListener('exit', this.restoreTerminal);
    this.restoreTerminal();
    this.options.keyboard.pause();
    this.options.screen.release();
    await Promise.all(this.working);
  }

  private press(input: string): void {
    for (const action of actionsOf(input, this.options.stack.regions.length)) {
      if (this.over.signal.aborted) return;
      this.act(action);
    }
    this.redraw();
  }

  private act(action: PlayAction): void {
    switch (action.kind) {
      case 'choose':
        this.chosen = action.index;
        return;
      case 'region':
        this.actOn(this.options.stack.regions[this.chosen], action.regionAction);
        return;
      case 'write':
        this.keepTrack(this.write());
        return;
      case 'help':
        this.options.screen.say(this.help().join('\n'));
        return;
      case 'quit':
        void this.end();
        this.options.quit();
    }
  }

  private help(): readonly string[] {
    return keyHelp(this.options.stack.regions.length);
  }

  private actOn(region: StackRegion | undefined, action: RegionAction): void {
    if (region === undefined) return;
    const before = this.last.get(region) ?? Promise.resolve();
    const done = before.then(async () => {
      // Actions that were still waiting at the end are dropped.
      if (this.over.signal.aborted) return;
      const said = await performAction(action, region).catch(messageOf);
      this.announce(`${region.place.id}: ${said}`);
    });
    this.last.set(region, done);
    this.keepTrack(done);
  }

  private async write(): Promise<void> {
    const outcome = await this.increment().catch(messageOf);
    if (this.over.signal.aborted) return;
    this.announce(
      typeof outcome === 'string' ? `write: ${outcome}` : writeText(sampleKey, outcome),
    );
  }

  private async increment(): Promise<WriteOutcome> {
    const { url, tokens } = this.options.stack;
    const sentAt = performance.now();
    const response = await fetch(`${url}/v1/writes`, {
      method: 'POST',
      headers: { authorization: `Bearer ${tokens.write}`, 'content-type': 'application/json' },
      body: JSON.stringify({ ops: [['INCR', sampleKey]] }),
      signal: this.over.signal,
    });
    const text = await response.text();
    return { status: response.status, body: parse(text), ms: performance.now() - sentAt };
  }

  /** Shows the state of the regions, and repeats that after a pause. */
  private async look(): Promise<void> {
    this.reports = await this.askRegions().catch(() => []);
    if (this.over.signal.aborted) return;
    this.redraw();
    this.timer = setTimeout(() => void this.look(), lookEveryMs);
  }

  private async askRegions(): Promise<readonly RegionReport[]> {
    const { url, tokens } = this.options.stack;
    const response = await fetch(`${url}/v1/regions`, {
      headers: { authorization: `Bearer ${tokens.read}` },
      signal: AbortSignal.any([this.over.signal, AbortSignal.timeout(lookPatienceMs)]),
    });
    const text = await response.text();
    const answer: { readonly regions?: readonly RegionReport[] } = JSON.parse(text);
    return answer.regions ?? [];
  }

  private announce(text: string): void {
    this.redraw();
    this.options.screen.say(`  ${new Date().toISOString().slice(11, 23)}  ${text}`);
  }

  private redraw(): void {
    if (this.over.signal.aborted) return;
    const lines = this.options.stack.regions.map((region, index) =>
      statusLine(this.played(region, index), this.options.paint),
    );
    this.options.screen.show(['', ...lines]);
  }

  private played({ place, redis, gateway }: StackRegion, index: number): PlayedRegion {
    return {
      number: index + 1,
      id: place.id,
      isChosen: index === this.chosen,
      condition: redis.condition,
      line: gateway.faults.line,
      report: this.reportOf(place.id),
    };
  }

  private reportOf(region: string): RegionReport | null {
    const report = this.reports.find(({ id }) => id === region);
    if (report === undefined) return null;
    // The round trip changes constantly, and without a redrawn panel each change would print a line.
    return this.options.screen.isDrawn ? report : { ...report, roundTripMs: null };
  }

  private keepTrack(work: Promise<void>): void {
    this.working.add(work);
    void work.finally(() => this.working.delete(work));
  }
}

function parse(text: string): SampleAnswer | null {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
