/** Plain SVG charts, which can be read in light and in dark. */

const width = 820;
const colours = ['#3b82c4', '#e07b39', '#4aa36b', '#b95cc4', '#c9a227', '#d1495b', '#5aa9a9'];

/** A bar of a chart. */
export interface Bar {
  readonly name: string;
  readonly value: number;
}

/** Horizontal bars, the first one in another colour. */
export function barChart(title: string, bars: readonly Bar[]): string {
  const nameWidth = 250;
  const barHeight = 18;
  const step = 26;
  const most = Math.max(...bars.map(({ value }) => value), Number.MIN_VALUE);
  const rows = bars.map(({ name, value }, at) => {
    const y = 34 + at * step;
    const length = Number.isNaN(value) ? 0 : (value / most) * (width - nameWidth - 90);
    const label = Number.isNaN(value) ? '–' : Math.round(value).toLocaleString('en-US');
    return [
      text(nameWidth - 8, y + 13, name, 'end'),
      `<rect x="${nameWidth}" y="${y}" width="${length.toFixed(1)}" height="${barHeight}" class="${at === 0 ? 'own' : 'other'}"/>`,
      text(nameWidth + length + 6, y + 13, label),
    ].join('');
  });
  const description = bars
    .map(({ name, value }) => `${name}: ${Number.isNaN(value) ? 'none' : Math.round(value)}`)
    .join('; ');
  const parts = [text(8, 18, title, 'start', true), ...rows];
  return drawing(44 + bars.length * step, { title, description }, parts);
}

/** A line of a chart: points in the order of their x. */
export interface PlotLine {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** The axes of a line chart. */
export interface LineAxes {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly isLogarithmicX?: boolean;
  readonly isLogarithmicY?: boolean;
}

const left = 70;
const right = 170;
const top = 34;
const plotHeight = 220;

/** Lines with their points, and their names at the right. */
export function lineChart(axes: LineAxes, lines: readonly PlotLine[]): string {
  const points = lines.flatMap((line) => line.points);
  const scaleX = scaleOf(
    points.map(([x]) => x),
    axes.isLogarithmicX === true,
  );
  const scaleY = scaleOf(
    points.map(([, y]) => y),
    axes.isLogarithmicY === true,
  );
  const plotWidth = width - left - right;
  const xOf = (x: number) => left + scaleX.share(x) * plotWidth;
  const yOf = (y: number) => top + plotHeight - scaleY.share(y) * plotHeight;
  const bottom = top + plotHeight;
  const ticks = [
    ...scaleX.ticks.map((x) => text(xOf(x), bottom + 16, short(x), 'middle')),
    ...scaleY.ticks.flatMap((y) => [
      `<line x1="${left}" x2="${left + plotWidth}" y1="${yOf(y).toFixed(1)}" y2="${yOf(y).toFixed(1)}" class="grid"/>`,
      text(left - 6, yOf(y) + 4, short(y), 'end'),
    ]),
  ];
  const drawn = lines.map(({ name, points: own }, at) => {
    const colour = colours[at % colours.length];
    const places = own.map(([x, y]) => `${xOf(x).toFixed(1)},${yOf(y).toFixed(1)}`);
    const dots = places.map((place) => {
      const [x, y] = place.split(',');
      return `<circle cx="${x}" cy="${y}" r="3" fill="${colour}"/>`;
    });
    const y = top + 14 + at * 18;
    return [
      `<polyline points="${places.join(' ')}" fill="none" stroke="${colour}" stroke-width="2"/>`,
      ...dots,
      `<rect x="${width - right + 14}" y="${y - 9}" width="10" height="10" fill="${colour}"/>`,
      text(width - right + 30, y, name),
    ].join('');
  });
  const title = `${axes.title}: ${axes.y}`;
  const described = lines.map(({ name, points: own }) => {
    const values = own.map(([x, y]) => `${short(y)} at ${short(x)}`);
    return `${name}: ${values.join(', ')}`;
  });
  return drawing(
    bottom + 44,
    { title, description: `${axes.y} by ${axes.x}. ${described.join('; ')}` },
    [
      text(8, 18, title, 'start', true),
      ...ticks,
      ...drawn,
      text(left + plotWidth / 2, bottom + 36, axes.x, 'middle'),
    ],
  );
}

interface Scale {
  readonly share: (value: number) => number;
  readonly ticks: readonly number[];
}

function scaleOf(values: readonly number[], isLogarithmic: boolean): Scale {
  const most = Math.max(...values, Number.MIN_VALUE);
  if (!isLogarithmic) {
    const step = niceStep(most / 4);
    const end = Math.max(step, Math.ceil(most / step) * step);
    const ticks = Array.from({ length: Math.round(end / step) + 1 }, (_, at) => at * step);
    return { share: (value) => value / end, ticks };
  }
  const positive = values.filter((value) => value > 0);
  const from = Math.floor(Math.log10(Math.min(...positive, most)));
  const to = Math.max(from + 1, Math.ceil(Math.log10(most)));
  const ticks = Array.from({ length: to - from + 1 }, (_, at) => 10 ** (from + at));
  const share = (value: number) => (Math.log10(Math.max(value, 10 ** from)) - from) / (to - from);
  return { share, ticks };
}

/** 1, 2 or 5 times a power of ten, at least `least`. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least) ?? power;
}

function short(value: number): string {
  if (value >= 1_000_000) return `${Number((value / 1_000_000).toPrecision(3))}M`;
  if (value >= 1_000) return `${Number((value / 1_000).toPrecision(3))}k`;
  return String(Number(value.toPrecision(3)));
}

function text(
  x: number,
  y: number,
  content: string,
  anchor: 'start' | 'middle' | 'end' = 'start',
  isBold = false,
): string {
  const escaped = escapeXml(content);
  const weight = isBold ? ' class="strong"' : '';
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}"${weight}>${escaped}</text>`;
}

function escapeXml(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

const style = `  <style>
    text { font: 12px ui-sans-serif, system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #24292f; }
    .strong { font-weight: 600; }
    .grid { stroke: #d0d7de; }
    .own { fill: #0969da; }
    .other { fill: #8c959f; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .grid { stroke: #30363d; }
      .own { fill: #4493f8; }
      .other { fill: #6e7681; }
    }
  </style>`;

/** Without a background, so that it can be read on white and on black. */
function drawing(
  height: number,
  { title, description }: { readonly title: string; readonly description: string },
  parts: readonly string[],
): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="title description">`,
    `  <title id="title">${escapeXml(title)}</title>`,
    `  <desc id="description">${escapeXml(description)}</desc>`,
    style,
    ...parts.map((part) => `  ${part}`),
    '</svg>\n',
  ].join('\n');
}
