/** Draws the timeline of a write. */
import type { Span } from '../gateway/gateway.ts';
import { printable } from '../pages/printable.ts';

/** The events of one write, in ms since it was sent. */
export interface WriteStory {
  /** The operation, for users. */
  readonly frame: string;
  readonly regions: readonly RegionStory[];
  /** The time of the coordinator's decision. */
  readonly decidedAtMs: number;
  /** The time of the response that every region has applied it. */
  readonly confirmedAtMs: number;
}

/** The events of one region. */
export interface RegionStory {
  readonly region: string;
  readonly vote: string;
  /** As measured by the coordinator; null without a vote. */
  readonly voteMs: number | null;
  /** The requests that its gateway answered during the write. */
  readonly requests: readonly Span[];
}

/** Colours a text, or returns it unchanged. */
export type Paint = (colour: Colour, text: string) => string;
/** A colour or weight of text. */
export type Colour = 'blue' | 'green' | 'red' | 'yellow' | 'dim' | 'bold';

const codes: Record<Colour, number> = { blue: 34, green: 32, red: 31, yellow: 33, dim: 2, bold: 1 };

/** Colours for terminals, none for other outputs. */
export function paintFor(isTerminal: boolean): Paint {
  return isTerminal
    ? (colour, text) => `\u001b[${codes[colour]}m${text}\u001b[0m`
    : (_, text) => text;
}

const barColumns = 44;
const nameColumns = 16;

/** The timeline as lines of text, with a bar per step, all to one scale. */
export function drawTimeline(story: WriteStory, paint: Paint): readonly string[] {
  const scale = (ms: number) => Math.round((ms / Math.max(story.confirmedAtMs, 1)) * barColumns);
  const bar = (colour: Colour, { fromMs, toMs }: Span) => {
    const from = Math.min(scale(fromMs), barColumns - 1);
    const columns = Math.max(1, Math.min(scale(toMs), barColumns) - from);
    return `${' '.repeat(from)}${paint(colour, '█'.repeat(columns))}`;
  };
  const row = (name: string, what: string, ms: number | null, drawn: string) =>
    `  ${name.padEnd(nameColumns)}${what.padEnd(10)}${millis(ms)}  ${drawn}`;
  const point = (atMs: number) => ' '.repeat(Math.min(scale(atMs), barColumns - 1));
  const votes = story.regions.map(({ region, vote, voteMs, requests }) => {
    const colour = vote === 'yes' ? 'blue' : 'red';
    const prepares = requests.filter(({ fromMs }) => fromMs < story.decidedAtMs);
    return row(
      region,
      `vote ${vote}`,
      voteMs,
      drawAll(prepares, (span) => bar(colour, span)),
    );
  });
  const commits = story.regions.map(({ region, requests }) => {
    const commit = requests.find(({ fromMs }) => fromMs >= story.decidedAtMs);
    const ms = commit === undefined ? null : commit.toMs - commit.fromMs;
    return row(region, 'commit', ms, commit === undefined ? '' : bar('green', commit));
  });
  return [
    row('frame', '', 0, `${point(0)}${paint('yellow', '▶')} ${printable(story.frame)}`),
    ...votes,
    row(
      'decision',
      'commit',
      story.decidedAtMs,
      `${point(story.decidedAtMs)}${paint('yellow', '◆')}`,
    ),
    ...commits,
    row(
      'confirmed',
      '',
      story.confirmedAtMs,
      `${point(story.confirmedAtMs)}${paint('yellow', '●')}`,
    ),
  ];
}

/** One bar for all requests of a region's step: the first of all rounds also sends the script. */
function drawAll(spans: readonly Span[], draw: (span: Span) => string): string {
  const [first] = spans;
  if (first === undefined) return '';
  return draw({ fromMs: first.fromMs, toMs: Math.max(...spans.map(({ toMs }) => toMs)) });
}

function millis(ms: number | null): string {
  return ms === null ? '        ' : `${Math.round(ms)} ms`.padStart(8);
}
