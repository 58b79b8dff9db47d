/** The CPU and the memory that the processes of a benchmark use, from /proc. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The kernel counts CPU time in ticks of this length, ms. */
const tickMs = 10;

/** The process group of a server that was started with this state directory and name. */
export function groupOf(stateDirectory: string, name: string): number {
  return Number(readFileSync(join(stateDirectory, 'pids', name), 'utf8'));
}

/** The CPU time of all processes of these groups since their start, in ms, with that of children that have ended. */
export function cpuMsOf(groups: readonly number[]): number {
  return processesOf(groups)
    .flatMap((fields) => fields.slice(11, 15).map((ticks) => Number(ticks) * tickMs))
    .reduce((sum, ms) => sum + ms, 0);
}

/** The resident memory of all processes of these groups, in bytes. */
export function residentBytesOf(groups: readonly number[]): number {
  const pageBytes = 4_096;
  return processesOf(groups)
    .map((fields) => Number(fields[21]) * pageBytes)
    .reduce((sum, bytes) => sum + bytes, 0);
}

/** The fields of /proc/<pid>/stat from the state on, of each process of the groups. */
function processesOf(groups: readonly number[]): readonly (readonly string[])[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(fieldsOf)
    .filter((fields) => groups.includes(Number(fields[2])));
}

function fieldsOf(pid: string): readonly string[] {
  try {
    // The name in brackets before them may contain any character.
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
  } catch {
    // The process has ended meanwhile.
    return [];
  }
}
