/** The rows that the coordinator of a stack has written to its log, read past the Worker. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { workerStorage } from '../../local/stack/worker.ts';

/**
 * The number of rows so far: each step that stores something adds at least one. NaN if there is no coordinator yet.
 */
export function loggedRows(stateDirectory: string): number {
  const directory = join(workerStorage(stateDirectory), 'lockstep');
  const files = existsSync(directory) ? readdirSync(directory) : [];
  const counts = files
    .filter((file) => file.endsWith('.sqlite') && !file.startsWith('metadata'))
    .map((file) => rowsOf(join(directory, file)));
  return counts[0] ?? Number.NaN;
}

function rowsOf(file: string): number {
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    return Number(database.prepare('SELECT max(position) AS rows FROM log').get()?.rows ?? 0);
  } finally {
    database.close();
  }
}
