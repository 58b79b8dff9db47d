/** Tests the drawn timeline of a write. */
import { describe, expect, it } from 'vitest';
import type { WriteStory } from '../../local/playground/timeline.ts';
import { drawTimeline, paintFor } from '../../local/playground/timeline.ts';

const story: WriteStory = {
  frame: 'SET key',
  decidedAtMs: 100,
  confirmedAtMs: 200,
  regions: [
    {
      region: 'near',
      vote: 'yes',
      voteMs: 2,
      requests: [
        { fromMs: 0, toMs: 2 },
        { fromMs: 100, toMs: 102 },
      ],
    },
    {
      region: 'far',
      vote: 'yes',
      voteMs: 100,
      requests: [
        { fromMs: 0, toMs: 100 },
        { fromMs: 100, toMs: 200 },
      ],
    },
  ],
};

const barOf = (line: string | undefined) => (line ?? '').replace(/^[^█]*?(?= {0,44}█)/, '');

describe('a timeline', () => {
  it('shows the frame, the votes, the decision, the commits and the confirmation, in this order', () => {
    const lines = drawTimeline(story, paintFor(false));
    const steps = lines.map((line) => line.trim().split(/ {2,}/).slice(0, 2).join(' '));
    expect(steps).toEqual([
      'frame 0 ms',
      'near vote yes',
      'far vote yes',
      'decision commit',
      'near commit',
      'far commit',
      'confirmed 200 ms',
    ]);
  });

  it('draws bars in proportion to their durations', () => {
    const lines = drawTimeline(story, paintFor(false));
    const widths = lines.map((line) => barOf(line).split('█').length - 1);
    expect(widths).toEqual([0, 1, 22, 0, 1, 22, 0]);
  });

  it('draws a region that never voted without a bar', () => {
    const silent = { region: 'lost', vote: 'missing', voteMs: null, requests: [] };
    const lines = drawTimeline({ ...story, regions: [silent] }, paintFor(false));
    expect(lines[1]?.trim()).toBe('lost            vote missing');
  });

  it('has colours on a terminal only', () => {
    const escapeCode = '\u001b';
    expect(drawTimeline(story, paintFor(false)).join('')).not.toContain(escapeCode);
    expect(drawTimeline(story, paintFor(true)).join('')).toContain(escapeCode);
  });
});
