/** Tests the text of a diagnosis. doctor.test.ts runs the command. */
import { describe, expect, it } from 'vitest';
import {
  type CheckResponse,
  type DiagnosisResponse,
  drawDiagnosis,
} from '../../local/pages/doctor-table.ts';
import { paintFor } from '../../local/playground/timeline.ts';

const plain = paintFor(false);
const well: CheckResponse = { name: 'role', status: 'ok', found: 'primary', advice: null };
const ill: CheckResponse = {
  name: 'eviction',
  status: 'problem',
  found: 'allkeys-lru',
  advice: 'Set `maxmemory-policy noeviction`: evicted keys are lost in this region alone.',
};

function diagnosisOf(...checks: readonly CheckResponse[]): DiagnosisResponse {
  const regions = [{ id: 'eu-west-1', host: 'euw1.example.com', checks }];
  return { verdict: 'ok', deployment: [well], regions };
}

describe('the table of the doctor', () => {
  it('has a line for each check, and its advice below it', () => {
    expect(drawDiagnosis(diagnosisOf(well, ill), 130, plain)).toEqual([
      'Deployment',
      '  role          ok       primary',
      '',
      'eu-west-1 euw1.example.com',
      '  role          ok       primary',
      '  eviction      PROBLEM  allkeys-lru',
      '                         → Set `maxmemory-policy noeviction`: evicted keys are lost in this region alone.',
      '',
      '1 problem.',
    ]);
  });

  it('keeps the columns apart for any length of the checks’ names', () => {
    const long = { ...well, name: 'undeclared keys' };
    expect(drawDiagnosis(diagnosisOf(well, long), 130, plain).slice(4, 6)).toEqual([
      '  role             ok       primary',
      '  undeclared keys  ok       primary',
    ]);
  });

  it.each([60, 80, 100])('keeps to %i columns, even with a longer word', (columns) => {
    const long = { ...ill, found: 'x'.repeat(200) };
    const lines = drawDiagnosis(diagnosisOf(long), columns, plain);
    expect(lines.filter((line) => line.length > columns)).toEqual([]);
    expect(lines.join('').replaceAll(/\s/g, '')).toContain('x'.repeat(200));
  });

  it('stays readable in a terminal of no width', () => {
    const widths = drawDiagnosis(diagnosisOf(ill), 0, plain).map((line) => line.length);
    // 25 columns for name and status, and 24 for the text.
    expect(Math.max(...widths)).toBeLessThanOrEqual(49);
    expect(Math.max(...widths)).toBeGreaterThan(40);
  });

  it('counts problems and checks that need a look', () => {
    const unknown: CheckResponse = { ...ill, status: 'unknown' };
    const lines = drawDiagnosis(diagnosisOf(ill, ill, unknown), 80, plain);
    expect(lines.at(-1)).toBe('2 problems, 1 check to make by hand.');
    expect(drawDiagnosis(diagnosisOf(well), 80, plain).at(-1)).toBe(
      'Nothing to do: 2 checks passed.',
    );
  });
});
