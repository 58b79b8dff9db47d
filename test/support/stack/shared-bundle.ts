/** One bundle of the Worker for all stacks of the tests, made by the first that needs it. */
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import {
  type Bundle,
  bundleWorker,
  compatibilityDate,
  projectDirectory,
} from '../../../local/stack/bundle.ts';

/** Everything that the bundle is made of. */
const sources = ['functions', 'shared', 'package-lock.json', 'tsconfig.json', 'wrangler.toml'];

const bundles = join(projectDirectory, '.lockstep', 'test-bundles');

/** The bundle of the source tree as it is: a change of a file makes another one. */
export async function sharedBundle(): Promise<Bundle> {
  const directory = join(bundles, digestOf(sources));
  if (!existsSync(directory)) await bundleInto(directory);
  return { directory, compatibilityDate: compatibilityDate() };
}

async function bundleInto(directory: string): Promise<void> {
  mkdirSync(bundles, { recursive: true });
  // On the same file system, so that it can be moved in one step.
  const temporary = mkdtempSync(join(bundles, 'making-'));
  try {
    const made = await bundleWorker(temporary);
    renameSync(made.directory, directory);
  } catch (error) {
    // Another test process was first.
    if (!existsSync(directory)) throw error;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

function digestOf(paths: readonly string[]): string {
  const hash = createHash('sha256');
  for (const file of paths.flatMap(filesIn).toSorted()) {
    hash.update(`${file}\0`).update(readFileSync(join(projectDirectory, file)));
  }
  return hash.digest('hex');
}

/** The file, or the files of the folder, from the top of the tree. */
function filesIn(path: string): readonly string[] {
  if (statSync(join(projectDirectory, path)).isFile()) return [path];
  return readdirSync(join(projectDirectory, path), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(projectDirectory, join(entry.parentPath, entry.name)));
}
