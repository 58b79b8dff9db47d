import type { Span } from '../gateway/gateway.ts';
import { printable } from '../pages/printable.ts';

/** What happened to one write, in ms since it was sent. */
export interface WriteStory {
  /** The operation, for people. */
  readonly frame: string;
  readonly regions: readonly RegionStory[];
  /** When the coordinator had decided. */
  readonly decidedAtMs: number;
  /** When the client was told that every region has applied it. */
  readonly confirmedAtMs: number;
}

/** What one region had to do with it. */
export interface RegionStory {
  readonly region: string;
  readonly vote: string;
  /** As the coordinator measured it; null if no vote came. */
  readonly voteMs: number | null;
  /** The requests that its gateway answered in that time. */
  readonly requests: readonly Span[];
}

/** Puts a colour around a text, or does not. */
export type Paint = (colour: Colour, text: string) => string;
export type Colour = 'blue' | 'green' | 'red' | 'yellow' | 'dim' | 'bold';

const codes: Record<Colour, number> = { blue: 34, green: 32, red: 31, yellow: 33, dim: 2, bold: 1 };

/** Colours for a terminal; none for anything else. */
export function paintFor(isTerminal: boolean): Paint {
  return isTerminal
    ? (colour, text) => `\u001b[${codes[colour]}m${text}\u001b[0m`
    : (_, text) => text;
}

const barColumns = 44;
const nameColumns = 16;

/** The write's way as lines of text: one bar for each step, all to one scale. */
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

/** A region may need several requests for one step: the first one of all hands the script over. They make one bar. */
function drawAll(spans: readonly Span[], draw: (span: Span) => string): string {
  const [first] = spans;
  if (first === undefined) return '';
  return draw({ fromMs: first.fromMs, toMs: Math.max(...spans.map(({ toMs }) => toMs)) });
}

function millis(ms: number | null): string {
  return ms === null ? '        ' : `${Math.round(ms)} ms`.padStart(8);
}
