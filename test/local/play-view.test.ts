/** Tests the lines that the playground shows. */
import { describe, expect, it } from 'vitest';
import { wholeLine } from '../../local/gateway/faults.ts';
import { paintFor } from '../../local/playground/timeline.ts';
import type { PlayedRegion, RegionReport } from '../../local/playground/view.ts';
import { copyText, statusLine, writeText } from '../../local/playground/view.ts';

const report: RegionReport = {
  id: 'eu-west-1',
  state: 'voter',
  health: 'answering',
  detail: null,
  roundTripMs: 70.6,
  unacknowledged: 0,
  copy: null,
};

const region: PlayedRegion = {
  number: 2,
  id: 'eu-west-1',
  isChosen: false,
  condition: 'running',
  line: wholeLine,
  report,
};

/** The words of the line, separated by single spaces. */
const shown = (change: Partial<PlayedRegion>) =>
  statusLine({ ...region, ...change }, paintFor(false))
    .trim()
    .replaceAll(/ +/g, ' ');

const reported = (change: Partial<RegionReport>) => shown({ report: { ...report, ...change } });

describe('the line of a region', () => {
  it('shows a healthy voter', () => {
    expect(shown({})).toBe('2 eu-west-1 running voter answering 71 ms');
  });

  it('marks the chosen region', () => {
    expect(shown({ isChosen: true })).toMatch(/^▶ 2 eu-west-1 /);
  });

  it('shows the cause and the backlog of a region that is out', () => {
    const out = {
      state: 'out',
      health: 'silent',
      unacknowledged: 12,
      missedKeys: 4,
      detail: 'no answer\n in time',
    };
    expect(shown({ condition: 'stopped', report: { ...report, ...out } })).toBe(
      '2 eu-west-1 stopped out silent 71 ms 12 to apply 4 keys to copy no answer in time',
    );
    expect(reported({ state: 'out', missedKeys: null })).toContain('all keys to copy');
  });

  it('shows the progress of a copy', () => {
    const copy = { done: 400, left: 600, keysPerSecond: 199.7, etaMs: 2_400 };
    expect(reported({ state: 'copying', copy })).toBe(
      '2 eu-west-1 running copying answering 71 ms 400 of 1000 keys (40 %), 200/s, 3 s left',
    );
  });

  it('shows the faults of its line', () => {
    expect(shown({ line: { reach: 'whole', slowMs: 500 } })).toMatch(/ms slowed by 500 ms$/);
    expect(shown({ line: { reach: 'cut', slowMs: 500 } })).toMatch(/slowed by 500 ms cut off$/);
    expect(shown({ line: { reach: 'answers-lost', slowMs: 0 } })).toMatch(/ms responses lost$/);
  });

  it('omits members that a coordinator does not report', () => {
    const bare = { id: 'eu-west-1', health: 'unknown', detail: null };
    const bareReport: RegionReport = { ...bare, roundTripMs: null, unacknowledged: null };
    expect(shown({ report: bareReport })).toBe('2 eu-west-1 running unknown');
    expect(shown({ report: null })).toBe('2 eu-west-1 running not known');
  });

  it('aligns its columns with those of the other regions', () => {
    const lines = [region, { ...region, id: 'ap-northeast-1', condition: 'paused' as const }];
    const places = lines.map((each) => statusLine(each, paintFor(false)).indexOf('answering'));
    expect(places[0]).toBe(places[1]);
  });
});

describe('the progress of a copy', () => {
  it('has a text before there is a rate, and for an empty copy', () => {
    expect(copyText({ done: 0, left: 10, keysPerSecond: 0, etaMs: null })).toBe(
      '0 of 10 keys (0 %), 0/s',
    );
    expect(copyText({ done: 0, left: 0, keysPerSecond: 0, etaMs: 0 })).toBe(
      '0 of 0 keys (100 %), 0/s, 0 s left',
    );
  });

  it('has no percentage if the number of keys is unknown', () => {
    const uncounted = { done: 30, left: null, keysPerSecond: 99.6, etaMs: null };
    expect(copyText(uncounted)).toBe('30 keys, 100/s');
  });

  it('uses the singular for one key', () => {
    const one = { done: 1, left: null, keysPerSecond: 1, etaMs: null };
    expect(copyText(one)).toBe('1 key, 1/s');
    expect(copyText({ ...one, left: 0 })).toBe('1 of 1 key (100 %), 1/s');
  });

  it('stays below 100 % until the copy is complete', () => {
    expect(copyText({ done: 999, left: 1, keysPerSecond: 10, etaMs: 100 })).toContain('(99 %)');
  });
});

describe('the outcome of a write', () => {
  it('shows the outcome, the duration, and the result', () => {
    const body = { outcome: 'committed', results: [4], attempts: 1 };
    expect(writeText('plays', { status: 200, body, ms: 203.4 })).toBe(
      'write: committed after 203 ms, plays = 4',
    );
    expect(writeText('plays', { status: 200, body: { ...body, attempts: 3 }, ms: 900 })).toBe(
      'write: committed after 900 ms at attempt 3, plays = 4',
    );
  });

  it('shows the reason if nothing was written', () => {
    const body = { title: 'A region is missing', detail: 'Nothing was written:\neu-west-1' };
    expect(writeText('plays', { status: 503, body, ms: 5_000 })).toBe(
      'write: 503 after 5000 ms. Nothing was written: eu-west-1',
    );
    expect(writeText('plays', { status: 502, body: null, ms: 1 })).toContain('not JSON');
  });
});
