/** Shows a torture run: its progress, its verdict, and the operations of each violation as a timeline. */

import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { labelOf } from './checker.ts';
import type { TortureHistory, TortureRead, TortureWrite, Violation } from './history.ts';
import type { FaultEntry, Recorder } from './recorder.ts';
import { clock } from './recorder.ts';

/** The operations of a violation that are shown; the history file has all. */
const operationsShown = 12;
const violationsShown = 10;

/** The panel of a run that goes on. */
export function progressLines(phase: string, recorder: Recorder): readonly string[] {
  const seconds = ((clock() - recorder.startedAt) / 1_000).toFixed(0);
  const total = (prefix: string) =>
    [...recorder.counts].reduce(
      (sum, [name, count]) => sum + (name.startsWith(prefix) ? count : 0),
      0,
    );
  const of = (name: string) => recorder.of(name);
  const lastFault = recorder.faults.at(-1);
  const rows: readonly (readonly [string, string])[] = [
    ['time', `${seconds} s, ${phase}`],
    [
      'writes',
      `${total('writes ')}: ${of('writes committed')} committed, ${of('writes rejected')} rejected, ` +
        `${of('writes refused')} refused, ${of('writes unknown')} unknown; ${of('repetitions')} repeated`,
    ],
    [
      'reads',
      `${total('reads by ')} strong (${of('reads by lease')} by lease, ${of('reads by coordinator')} through ` +
        `the coordinator), ${of('reads plain')} plain, ${of('reads without an answer')} unanswered`,
    ],
    ['faults', `${recorder.faults.length}; the last: ${lastFault?.text ?? 'none'}`],
    [
      'checks',
      'one order by real time; once; all or none; no loss; same answers; equal regions; feed',
    ],
    ['complaints', String(recorder.complaints.length)],
  ];
  return rows.map(([name, text]) => `${name.padEnd(10)}  ${text}`);
}

/** The verdict, with a timeline per violation. */
export function verdictLines(
  history: TortureHistory,
  recorder: Recorder,
  violations: readonly Violation[],
): readonly string[] {
  const { writes, reads, followers } = history;
  const changes = followers.map((each) => each.length).join(' and ');
  const sizes = `${writes.length} writes, ${reads.length} reads, ${changes} changes in the feed, ${recorder.faults.length} faults`;
  if (violations.length === 0) return [`No violation in ${sizes}.`];
  return [
    `${violations.length} VIOLATIONS in ${sizes}:`,
    ...violations
      .slice(0, violationsShown)
      .flatMap((violation) => [
        '',
        `${violation.promise}: ${violation.reason.slice(0, reasonShown)}`,
        ...timelineOf(violation.operations, recorder),
      ]),
    ...(violations.length > violationsShown
      ? [`… and ${violations.length - violationsShown} more`]
      : []),
  ];
}

const reasonShown = 600;

/** Operations and the faults among them, by their starts, in seconds since the start of the run. */
function timelineOf(
  operations: readonly (TortureWrite | TortureRead)[],
  { startedAt, faults }: Recorder,
): readonly string[] {
  const shown = operations.toSorted((a, b) => a.startedAt - b.startedAt).slice(0, operationsShown);
  const [first] = shown;
  if (first === undefined) return [];
  const from = first.startedAt;
  const to = Math.max(...shown.map((each) => each.endedAt ?? each.startedAt));
  const near = faults.filter(({ at }) => at >= from - nearMs && at <= to + nearMs);
  const disasters = near.filter(({ text }) => !text.startsWith('between ')).slice(0, faultsShown);
  const seconds = (at: number) => `${((at - startedAt) / 1_000).toFixed(3)} s`;
  return [
    ...shown.map((operation) => {
      const end = operation.endedAt === null ? 'no answer' : seconds(operation.endedAt);
      const times = `${seconds(operation.startedAt)} – ${end}`;
      return { at: operation.startedAt, line: `  ${times.padEnd(24)}  ${described(operation)}` };
    }),
    ...disasters.map(({ at, text }) => ({
      at,
      line: `  ${seconds(at).padEnd(24)}  fault: ${text}`,
    })),
  ]
    .sort((a, b) => a.at - b.at)
    .map(({ line }) => line);
}

const nearMs = 1_000;
const faultsShown = 12;

function described(operation: TortureWrite | TortureRead): string {
  if (operation.kind === 'write') {
    const commands = operation.commands.map((command) =>
      command[0] === 'EVAL' ? `EVAL … ${command.slice(-4).join(' ')}` : command.join(' '),
    );
    const [receipt] = operation.receipts;
    const results = receipt === undefined ? '' : `, ${JSON.stringify(receipt.results)}`;
    return `${operation.name} ${commands.join(', ')} → ${operation.outcome}${results}`;
  }
  const values = operation.values.map(([key, text]) => `${key} = ${shortened(text)}`);
  return `${labelOf(operation)} (${operation.consistency} by ${operation.via}): ${values.join(', ')}`;
}

function shortened(text: string | null): string {
  if (text === null) return 'absent';
  return text.length > 30 ? `…${text.slice(-30)}` : text;
}

/** Writes the history as lines of JSON in the order of their times: operations, faults, changes, and the data at the end. */
export async function saveHistory(
  file: string,
  history: TortureHistory,
  faults: readonly FaultEntry[],
  violations: readonly Violation[],
): Promise<void> {
  const out = createWriteStream(file);
  const write = async (line: unknown) => {
    if (!out.write(`${JSON.stringify(line)}\n`)) await once(out, 'drain');
  };
  for (const { promise, reason } of violations) await write({ kind: 'violation', promise, reason });
  const timed = [
    ...[...history.writes, ...history.reads].map((line) => ({ at: line.startedAt, line })),
    ...faults.map((fault) => ({ at: fault.at, line: { kind: 'fault', ...fault } })),
  ].sort((a, b) => a.at - b.at);
  for (const { line } of timed) await write(line);
  for (const [follower, changes] of history.followers.entries()) {
    for (const change of changes)
      await write({ kind: 'change', follower: follower + 1, ...change });
  }
  for (const [region, texts] of history.finals) {
    await write({ kind: 'end', region, texts: Object.fromEntries(texts) });
  }
  await write({ kind: 'spans', copies: history.copies, losses: history.losses });
  out.end();
  await once(out, 'finish');
}
