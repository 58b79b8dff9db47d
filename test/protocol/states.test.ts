import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { InvariantViolation } from '../../shared/assert.ts';
import type { Membership } from '../../shared/protocol/io/stored.ts';
import {
  assertTransition,
  type RegionState,
  regionTransitions,
} from '../../shared/protocol/membership/region-states.ts';
import {
  assertTransactionTransition,
  assertVoteTransition,
  transactionTransitions,
  voteTransitions,
} from '../../shared/protocol/transactions/transaction-states.ts';

const absence = {
  since: 0,
  cause: 'silent',
  detail: 'a test',
  whole: false,
  manualReturn: false,
} as const;
const voter: Membership = { state: 'voter', since: 0, leaving: null };
const out: Membership = { state: 'out', ...absence };
const copying: Membership = { state: 'copying', token: '1-1', ...absence };

/** The states that can be reached from `first` by any events. */
function reachableFrom(first: RegionState): ReadonlySet<RegionState> {
  const reached = new Set([first]);
  for (const state of reached) {
    for (const next of Object.values(regionTransitions[state]).flat()) reached.add(next);
  }
  return reached;
}

const page = fileURLToPath(new URL('../../shared/protocol/PROTOCOL.md', import.meta.url));

/** The states and events of a region as PROTOCOL.md shows them. */
function tableOfStates(): string {
  const states = Object.entries(regionTransitions);
  const events = Object.keys(regionTransitions.absent);
  const rows = [
    ['event', ...states.map(([state]) => `from ${state}`)],
    ...events.map((event) => [
      `\`${event}\``,
      ...states.map(([, of]) => {
        const cell = Object.entries(of).find(([name]) => name === event);
        return cell?.[1].join(', ') ?? '';
      }),
    ]),
  ];
  const widths = rows[0]?.map((_, at) => Math.max(...rows.map((row) => (row[at] ?? '').length)));
  const lines = rows.map(
    (row) => `| ${row.map((cell, at) => cell.padEnd(widths?.[at] ?? 0)).join(' | ')} |`,
  );
  const rule = `| ${widths?.map((width) => '-'.repeat(width)).join(' | ')} |`;
  return [lines[0], rule, ...lines.slice(1)].join('\n');
}

describe('the states of a region', () => {
  it('are listed in PROTOCOL.md; UPDATE=1 writes them', () => {
    const text = readFileSync(page, 'utf8');
    const parts = /(<!-- region-states -->)[\s\S]*?(<!-- \/region-states -->)/;
    const wanted = text.replace(parts, `$1\n\n${tableOfStates()}\n\n$2`);
    if (process.env.UPDATE === '1') writeFileSync(page, wanted);
    expect(readFileSync(page, 'utf8')).toBe(wanted);
    expect(text).toMatch(parts);
  });

  const states = Object.keys(regionTransitions);

  it('can all be reached by a region that is added', () => {
    expect([...reachableFrom('absent')].sort()).toEqual([...states].sort());
  });

  it('can all be left again, up to being forgotten and added once more', () => {
    const all = Object.keys(regionTransitions) as RegionState[];
    for (const state of all) expect(reachableFrom(state)).toContain('absent');
  });

  it('include the vote only after a founding or a complete copy', () => {
    const ways = Object.entries(regionTransitions).flatMap(([state, events]) =>
      Object.entries(events).flatMap(([event, next]) =>
        next.includes('voter') ? [`${state}: ${event}`] : [],
      ),
    );
    expect(ways).toEqual(['leaving: recalled', 'excluded: founded', 'copying: returned']);
  });

  it.each([
    ['returned', out, voter],
    ['copy-begun', voter, copying],
    ['evicted', copying, out],
    ['forgotten', voter, null],
    ['added', voter, out],
  ] as const)('may not change by %s from any other state', (event, from, to) => {
    expect(() => assertTransition(event, from, to)).toThrow(InvariantViolation);
  });

  it.each([
    ['returned', copying, voter],
    ['copy-begun', out, copying],
    ['evicted', voter, out],
    ['added', null, out],
  ] as const)('change by %s', (event, from, to) => {
    expect(() => assertTransition(event, from, to)).not.toThrow();
  });
});

describe('the states of a transaction', () => {
  it('are left once, for good', () => {
    const { undecided, ...decided } = transactionTransitions;
    expect(Object.values(undecided).flat()).toEqual([
      'undecided',
      'committed',
      'rejected',
      'aborted',
    ]);
    expect(Object.values(decided).flatMap((events) => Object.values(events).flat())).toEqual([]);
  });

  it('do not change once it is decided', () => {
    expect(() => assertTransactionTransition('abort', 'committed', 'aborted')).toThrow(
      'a transaction that is committed may not become aborted by abort',
    );
  });
});

describe('a vote', () => {
  it('is counted once', () => {
    expect(voteTransitions).toEqual({
      waiting: ['yes', 'no', 'missing'],
      yes: [],
      no: [],
      missing: [],
    });
    expect(() => assertVoteTransition('no', 'yes')).toThrow(InvariantViolation);
    expect(() => assertVoteTransition('waiting', 'yes')).not.toThrow();
  });
});
