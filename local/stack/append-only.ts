import { copyFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Where a Redis keeps its data within its directory, and the list of the files that belong to it. */
const directoryName = 'appendonlydir';
const manifestName = 'appendonly.aof.manifest';

/** A rewrite changes the files a few times, seconds apart. Somebody who always meets one does something else wrong. */
const attemptsMaximum = 10;

/**
 * Copies a Redis' append-only files as they were at one moment, while the server writes them or after it has ended. What
 * it had acknowledged before the call is in the copy, and of what came later a part without gaps. The copy replaces
 * an earlier one only when it is complete.
 *
 * @param from the server's data directory.
 * @param to the copy's directory, which may not exist.
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
 * Puts such a copy in place of the data of a server that does not run. The copy stays.
 *
 * @throws the error of the file system if there is no copy; the data are as they were then.
 */
export async function restoreAppendOnly(copy: string, to: string): Promise<void> {
  const directory = join(to, directoryName);
  const unfinished = `${directory}.unfinished`;
  await copyListed(copy, unfinished, await readManifest(copy));
  await rm(directory, { recursive: true, force: true });
  await rename(unfinished, directory);
}

/**
 * A file is only ever appended to, and the server appends before it answers. So a copy that was cut off by the file's end
 * of that moment is the state of that moment; the server drops a last command that is not whole, and a whole script with it.
 * Only a rewrite puts other files in their place, and it changes the list.
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
  // One after the other, as they were written: what is missing at the end of one is then missing in the next ones too.
  for (const name of filesOf(manifest)) {
    await copyFile(join(from, name), join(to, name));
  }
  await writeFile(join(to, manifestName), manifest);
}

/** The base (`type b`) and what was appended to it (`type i`). Of type h are those about to be deleted. */
function filesOf(manifest: string): readonly string[] {
  return [...manifest.matchAll(/^file (\S+) seq \d+ type [bi]/gm)].map(([, name = '']) => name);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
