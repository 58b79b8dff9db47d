/** The texts of the playground: status lines of regions, and outcomes of writes. It does no I/O. */
import { counted } from '../../shared/counted.ts';
import type { Line } from '../gateway/faults.ts';
import { printable } from '../pages/printable.ts';
import type { RegionCondition } from '../stack/regions.ts';
import type { Paint } from './timeline.ts';

/** The progress of copying a region. */
export interface CopyView {
  /** The number of copied keys. */
  readonly done: number;
  /** The number of keys left; null if they were not counted. */
  readonly left: number | null;
  readonly keysPerSecond: number;
  /** The estimated time to the end, in ms; null if it cannot be estimated yet. */
  readonly etaMs: number | null;
}

/** The part of a region in `GET /v1/regions` that is shown. */
export interface RegionReport {
  readonly id: string;
  /** `voter`, `out` or `copying`. */
  readonly state?: string | null;
  readonly health: string;
  /** The fault of the region, for users; null without one. */
  readonly detail: string | null;
  readonly roundTripMs: number | null;
  /** The number of decisions that it has yet to apply; null if unknown. */
  readonly unacknowledged: number | null;
  /** The number of keys that it lacks while it has no vote; null means all keys. */
  readonly missedKeys?: number | null;
  readonly copy?: CopyView | null;
}

/** A region as this machine and its coordinator see it. */
export interface PlayedRegion {
  /** The key that chooses it, from 1. */
  readonly number: number;
  readonly id: string;
  readonly isChosen: boolean;
  readonly condition: RegionCondition;
  readonly line: Line;
  /** Null if the Worker did not report it. */
  readonly report: RegionReport | null;
}

/** The status line of a region: its state on this machine, then its state at the coordinator. */
export function statusLine(region: PlayedRegion, paint: Paint): string {
  const mark = region.isChosen ? paint('yellow', '▶') : ' ';
  const condition = region.condition.padEnd(9);
  const words = [
    `${mark} ${region.number} ${region.id.padEnd(15)}`,
    region.condition === 'running' ? condition : paint('red', condition),
    ...reportWords(region.report, paint),
    ...lineWords(region.line).map((word) => paint('yellow', word)),
  ];
  const detail = region.report?.detail ?? null;
  if (detail !== null) words.push(paint('dim', oneLine(detail)));
  return words.join(' ').trimEnd();
}

function reportWords(report: RegionReport | null, paint: Paint): readonly string[] {
  if (report === null) return [paint('dim', 'not known')];
  const { state = null, health, unacknowledged, copy = null } = report;
  const words: string[] = [];
  if (state !== null) words.push(paint(state === 'voter' ? 'green' : 'yellow', state.padEnd(7)));
  words.push(paint(health === 'answering' ? 'green' : 'red', health.padEnd(9)));
  words.push(roundTrip(report.roundTripMs));
  if (unacknowledged !== null && unacknowledged > 0) words.push(`${unacknowledged} to apply`);
  if (copy !== null) words.push(paint('blue', copyText(copy)));
  else if (state === 'out') words.push(missedText(report.missedKeys ?? null));
  return words;
}

/** `400 of 1000 keys (40 %), 200/s, 3 s left`. The number of keys may grow while writes continue. */
export function copyText({ done, left, keysPerSecond, etaMs }: CopyView): string {
  if (left === null) return `${counted(done, 'key')}, ${Math.round(keysPerSecond)}/s`;
  const all = done + left;
  const percent = all === 0 ? 100 : Math.floor((100 * done) / all);
  const rate = `${Math.round(keysPerSecond)}/s`;
  const rest = etaMs === null ? [] : [`${Math.ceil(etaMs / 1_000)} s left`];
  return [`${done} of ${counted(all, 'key')} (${percent} %)`, rate, ...rest].join(', ');
}

function missedText(keys: number | null): string {
  return keys === null ? 'all keys to copy' : `${counted(keys, 'key')} to copy`;
}

function lineWords({ reach, slowMs }: Line): readonly string[] {
  const words: string[] = [];
  if (slowMs > 0) words.push(`slowed by ${slowMs} ms`);
  if (reach === 'cut') words.push('cut off');
  if (reach === 'answers-lost') words.push('responses lost');
  return words;
}

function roundTrip(ms: number | null): string {
  return (ms === null ? '' : `${Math.round(ms)} ms`).padStart(7);
}

function oneLine(text: string): string {
  return printable(text.replaceAll(/\s+/g, ' ').trim());
}

/** The response to a write: its status, its parsed body (null if it is not JSON), and its duration. */
export interface WriteOutcome {
  readonly status: number;
  readonly body: SampleAnswer | null;
  readonly ms: number;
}

/** The part of the response to `POST /v1/writes` that is shown, for a result or a problem. */
export interface SampleAnswer {
  readonly outcome?: string;
  readonly results?: readonly unknown[];
  readonly attempts?: number;
  readonly title?: string;
  readonly detail?: string;
}

/** `write: committed after 203 ms, plays = 4`, or the reason of a failure. */
export function writeText(key: string, { status, body, ms }: WriteOutcome): string {
  const took = `${Math.round(ms)} ms`;
  if (status !== 200) {
    const why = body?.detail ?? body?.title ?? 'a response that is not JSON';
    return `write: ${status} after ${took}. ${oneLine(why)}`;
  }
  const attempts = body?.attempts ?? 1;
  const again = attempts > 1 ? ` at attempt ${attempts}` : '';
  return `write: ${body?.outcome ?? 'answered'} after ${took}${again}, ${key} = ${printable(String(body?.results?.[0]))}`;
}
