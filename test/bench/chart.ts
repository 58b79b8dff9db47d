/** A labelled point in time. */
export interface Mark {
  readonly what: string;
  readonly atMs: number;
}

/** Acknowledged writes over time, with marks. Times are in ms since 1970; the chart begins at `fromMs`. */
export interface TimelineChart {
  readonly title: string;
  readonly fromMs: number;
  readonly toMs: number;
  /** The number of writes sent per second. */
  readonly perSecond: number;
  readonly answeredAtMs: readonly number[];
  readonly marks: readonly Mark[];
}

const nameColumns = 18;
const levels = '▁▂▃▄▅▆▇█';

/** A column per second: the number of acknowledged writes, against twice the number sent. */
export function drawOutage(timeline: TimelineChart): readonly string[] {
  const { title, fromMs, perSecond, marks } = timeline;
  const bars = countsPer(timeline, 1_000).map((count) => {
    const level = Math.min(levels.length, Math.ceil((count / perSecond / 2) * levels.length));
    return levels[level - 1] ?? '·';
  });
  const rows = marks.map(({ what, atMs }) => {
    const seconds = (atMs - fromMs) / 1_000;
    const column = ' '.repeat(Math.max(0, Math.floor(seconds)));
    return `  ${what.padEnd(nameColumns)}${column}▲ ${seconds.toFixed(1)} s`;
  });
  return [title, `  ${'answered a second'.padEnd(nameColumns)}${bars.join('')}`, ...rows];
}

function countsPer(
  { fromMs, toMs, answeredAtMs }: TimelineChart,
  binMs: number,
): readonly number[] {
  const counts = Array.from({ length: Math.ceil((toMs - fromMs) / binMs) }, () => 0);
  for (const at of answeredAtMs) {
    const bin = Math.floor((at - fromMs) / binMs);
    if (bin < counts.length) counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return counts;
}

const binMs = 250;
const width = 900;
const plotLeft = 50;
const plotHeight = 90;
const panelHeight = 165;

/** The same as a picture: a panel for each, all to one scale. */
export function plotOutages(timelines: readonly TimelineChart[]): string {
  const longestMs = Math.max(...timelines.map(({ fromMs, toMs }) => toMs - fromMs));
  const scale = (ms: number) => plotLeft + (ms / longestMs) * (width - plotLeft - 20);
  const panels = timelines.map((timeline, at) => {
    return `<g transform="translate(0 ${at * panelHeight})">${panelOf(timeline, scale)}</g>`;
  });
  const height = timelines.length * panelHeight;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11">`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    ...panels,
    '</svg>\n',
  ].join('\n');
}

/** Bars up to twice the rate of sending: queued writes are acknowledged at once, and would dwarf the rest. */
function panelOf(timeline: TimelineChart, scale: (ms: number) => number): string {
  const { title, fromMs, toMs, perSecond, marks } = timeline;
  const topY = 45;
  const floorY = topY + plotHeight;
  const bars = countsPer(timeline, binMs).map((count, bin) => {
    const share = Math.min(1, (count * 1_000) / binMs / perSecond / 2);
    const x = scale(bin * binMs);
    const barWidth = scale((bin + 1) * binMs) - x - 0.3;
    const barHeight = share * plotHeight;
    return `<rect x="${round(x)}" y="${round(floorY - barHeight)}" width="${round(barWidth)}" height="${round(barHeight)}" fill="#3b76af"/>`;
  });
  const lines = marks.map(({ what, atMs }, at) => {
    const x = round(scale(atMs - fromMs));
    // Labels that follow each other closely alternate between two heights.
    const y = at % 2 === 0 ? topY - 14 : topY - 3;
    return `<line x1="${x}" x2="${x}" y1="${topY}" y2="${floorY}" stroke="#c0392b"/><text x="${x}" y="${y}" fill="#c0392b">${what}</text>`;
  });
  const seconds = Array.from({ length: Math.floor((toMs - fromMs) / 5_000) + 1 }, (_, at) => {
    return `<text x="${round(scale(at * 5_000))}" y="${floorY + 13}" text-anchor="middle">${at * 5} s</text>`;
  });
  return [
    `<text x="${plotLeft}" y="15" font-weight="bold">${title}</text>`,
    ...bars,
    ...lines,
    ...seconds,
    `<line x1="${plotLeft}" x2="${round(scale(toMs - fromMs))}" y1="${floorY}" y2="${floorY}" stroke="black"/>`,
    `<text x="${plotLeft - 6}" y="${topY + plotHeight / 2 + 4}" text-anchor="end">${perSecond}/s</text>`,
  ].join('\n');
}

function round(value: number): string {
  return value.toFixed(1);
}
