/** A short torture run: the stack under all kinds of faults, judged by the checker. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { describe, expect, it } from 'vitest';
import { saveHistory, verdictLines } from './report.ts';
import { torture } from './run.ts';

const seed = Number(process.env.SEED ?? 1);

describe('the stack, while its lines fail and its processes are killed, stopped, taken back and replaced', () => {
  it('keeps every promise in a history of many clients', async () => {
    const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-torture-'));
    const outcome = await torture({ seconds: 20, seed, clients: 8, stateDirectory });
    const { history, recorder, violations } = outcome;
    if (violations.length === 0) rmSync(stateDirectory, { recursive: true });
    else {
      const file = join(stateDirectory, 'history.jsonl');
      await saveHistory(file, history, recorder.faults, violations);
      console.error(verdictLines(history, recorder, violations).join('\n'), file);
    }
    expect(violations).toEqual([]);
    expect(history.writes.some(({ outcome: each }) => each === 'committed')).toBe(true);
    expect(history.reads.some(({ consistency }) => consistency === 'strong')).toBe(true);
    expect(recorder.faults.length).toBeGreaterThan(0);
  });
});
