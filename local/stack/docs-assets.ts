/**
 * Copies the files of the documentation page to the directory of assets in wrangler.toml, before wrangler bundles. The
 * package has 30 files and 12 MB, of which three are served.
 */
import { copyFileSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { docsAssets } from '../../functions/edge/http/docs-assets.ts';
import { projectDirectory } from './bundle.ts';

/** The directory of a deployment's assets. */
export const docsAssetsDirectory = join(projectDirectory, '.lockstep', 'docs-assets');

function copyDocsAssets(): void {
  const source = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
  mkdirSync(docsAssetsDirectory, { recursive: true });
  const served: ReadonlySet<string> = new Set(docsAssets);
  for (const name of readdirSync(docsAssetsDirectory)) {
    if (!served.has(name)) rmSync(join(docsAssetsDirectory, name), { force: true });
  }
  for (const name of docsAssets) {
    // Written to a temporary file first: another Worker may be reading the file, or another process copying it.
    const part = join(dirname(docsAssetsDirectory), `${name}.${process.pid}.part`);
    copyFileSync(join(source, name), part);
    renameSync(part, join(docsAssetsDirectory, name));
  }
}

if (import.meta.main) copyDocsAssets();
