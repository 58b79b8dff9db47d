/** Tests the files that a deployment uploads for the documentation page. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { describe, expect, it } from 'vitest';
import { docsAssets } from '../../functions/edge/http/docs-assets.ts';
import { docsAssetsDirectory } from '../../local/stack/docs-assets.ts';

describe('the assets of a deployment', () => {
  it('are the files that the page of documentation loads, and no others', () => {
    mkdirSync(docsAssetsDirectory, { recursive: true });
    writeFileSync(join(docsAssetsDirectory, 'left-over.js'), '');
    const { status } = spawnSync(process.execPath, ['local/stack/docs-assets.ts']);
    expect(status).toBe(0);
    expect(readdirSync(docsAssetsDirectory).sort()).toEqual([...docsAssets].sort());
  });

  it('are the directory in wrangler.toml, and are made before the Worker is bundled', () => {
    const settings = readFileSync('wrangler.toml', 'utf8');
    expect(join(process.cwd(), /^directory = "(.+)"$/m.exec(settings)?.[1] ?? '')).toBe(
      docsAssetsDirectory,
    );
    expect(settings).toContain('command = "node local/node.mjs local/stack/docs-assets.ts"');
  });
});
