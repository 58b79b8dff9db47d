/** Copies and restores the append-only files of a Redis, for snapshots and rollbacks of regions. */
import { copyFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The directory of the append-only files within a Redis' data directory, and the list of them. */
const directoryName = 'appendonlydir';
const manifestName = 'appendonly.aof.manifest';

/** A rewrite changes the list a few times, seconds apart. More attempts than these would not help. */
const attemptsMaximum = 10;

/**
 * Copies the append-only files of a Redis as they were at one moment, while the server runs or after it has ended. The
 * copy has everything that was acknowledged before the call, and a gapless part of later commands. It replaces an
 * earlier copy only when it is complete.
 *
 * @param from the server's data directory.
 *
 * @param to the copy's directory, which need not exist.
 *
 * @throws Error if there are no data.
 */
export async function copyAppendOnly(from: string, to: string): Promise<void> {
  const unfinished = `${to}.unfinished`;
  for (let attempt = 1; !(await copyOnce(join(from, directoryName), unfinished)); attempt += 1) {
    if (attempt === attemptsMaximum) throw new Error(`${from} holds no whole append-only files.`);
  }
  await rm(to, { recursive: true, force: true });
  await rename(unfinished, to);
}

/**
 * Replaces the data of a server that does not run by such a copy, and keeps the copy.
 *
 * @throws the error of the file system if there is no copy, before the data are changed.
 */
export async function restoreAppendOnly(copy: string, to: string): Promise<void> {
  const directory = join(to, directoryName);
  const unfinished = `${directory}.unfinished`;
  await copyListed(copy, unfinished, await readManifest(copy));
  await rm(directory, { recursive: true, force: true });
  await rename(unfinished, directory);
}

/**
 * Copies the files of one list. Files only grow, and the server appends before it answers, so a copy up to the current
 * end of a file is its state at that moment; the server drops an incomplete last command or script. Only a rewrite
 * replaces files, and it changes the list.
 *
 * @returns whether the list was the same before and after.
 */
async function copyOnce(from: string, to: string): Promise<boolean> {
  try {
    const manifest = await readManifest(from);
    await copyListed(from, to, manifest);
    return manifest === (await readManifest(from));
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

function readManifest(directory: string): Promise<string> {
  return readFile(join(directory, manifestName), 'utf8');
}

async function copyListed(from: string, to: string, manifest: string): Promise<void> {
  await rm(to, { recursive: true, force: true });
  await mkdir(to, { recursive: true });
  // In the order in which they were written, so that a later file never has commands that an earlier one lacks.
  for (const name of filesOf(manifest)) {
    await copyFile(join(from, name), join(to, name));
  }
  await writeFile(join(to, manifestName), manifest);
}

/** The base (`type b`) and the increments (`type i`). Files of type h are about to be deleted. */
function filesOf(manifest: string): readonly string[] {
  return [...manifest.matchAll(/^file (\S+) seq \d+ type [bi]/gm)].map(([, name = '']) => name);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
