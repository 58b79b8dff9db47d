import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { problemKinds } from '../../shared/http/problems.ts';

/** An operator who meets a problem of the server finds it in the runbook. */

const runbook = readFileSync('docs/operate/runbook.md', 'utf8');

it('has every problem that is not the fault of the client', () => {
  const ofServer = Object.entries(problemKinds).filter(([, { status }]) => status >= 500);
  const missing = ofServer.filter(([name]) => !runbook.includes(`\`${name}\``));
  expect(missing.map(([name]) => name)).toEqual([]);
  expect(ofServer.length).toBeGreaterThan(0);
});
