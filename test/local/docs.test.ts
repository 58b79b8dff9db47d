/** Tests that the generated pages are current. */
import { spawnSync } from 'node:child_process';
import process from 'node:process';
import { describe, expect, it } from 'vitest';

function docs(...args: readonly string[]) {
  return spawnSync(process.execPath, ['local/pages/docs.ts', ...args], { encoding: 'utf8' });
}

describe('npm run docs', () => {
  it('finds every generated page current; if not, "npm run docs" writes it', () => {
    const { stdout, stderr, status } = docs('--check');
    expect(`${stdout}${stderr}`).toBe('');
    expect(status).toBe(0);
  });

  it('describes itself with --help', () => {
    const { stdout, status } = docs('--help');
    expect(stdout).toContain('--check');
    expect(status).toBe(0);
  });
});
