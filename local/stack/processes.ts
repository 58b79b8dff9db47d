/** Starts processes in groups of their own, and makes sure that none outlives its purpose. */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';

/** A program to run, and its output file. */
export interface ProcessOptions {
  /** The name for users and for the pid file, unique within the state directory. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly workingDirectory?: string;
  /** An absolute path. It must appear in `args`, or contain `workingDirectory`; see {@link endStale}. */
  readonly stateDirectory: string;
  /** The file for stdout and stderr, which is emptied first. */
  readonly logFile: string;
}

/** The time for which a process may run after SIGTERM, in ms, unless its caller says otherwise. */
const defaultGraceMs = 5_000;

/** The running groups, which are ended when this process ends. */
const running = new Set<OwnProcess>();

/** A process that leads a group of its own, so that the processes that it starts end with it. */
export class OwnProcess {
  readonly name: string;
  readonly pid: number;
  /** Resolves when it has ended, with its signal or exit code. */
  readonly ended: Promise<string>;
  /** 0 if it has ended by itself without an error. */
  exitCode: number | null = null;
  private readonly pidFile: string;
  private over = false;
  private paused = false;

  constructor(name: string, child: ChildProcess, pidFile: string) {
    this.name = name;
    this.pid = child.pid ?? 0;
    this.pidFile = pidFile;
    const { promise, resolve } = Promise.withResolvers<string>();
    this.ended = promise;
    child.once('error', (error) => resolve(this.end(error.message)));
    child.once('exit', (code, signal) => {
      this.exitCode = code;
      resolve(this.end(signal ?? `exit code ${code}`));
    });
  }

  get isRunning(): boolean {
    return !this.over;
  }

  /** True if it is stopped by {@link pause} and has not ended. */
  get isPaused(): boolean {
    return this.isRunning && this.paused;
  }

  /** Stops the group (SIGSTOP). Its connections stay open and unanswered. */
  pause(): void {
    if (this.isRunning) signalGroup(this.pid, 'SIGSTOP');
    this.paused = this.isRunning;
  }

  /** Continues a paused group. */
  resume(): void {
    if (this.isRunning) signalGroup(this.pid, 'SIGCONT');
    this.paused = false;
  }

  /**
   * Ends the group by SIGTERM, and the rest of it by SIGKILL after its leader has ended or the grace period, in ms, is
   * over.
   */
  async stop(graceMs = defaultGraceMs): Promise<void> {
    if (this.isRunning) {
      signalGroup(this.pid, 'SIGTERM');
      // A paused process would not receive SIGTERM.
      this.resume();
      const timer = setTimeout(() => signalGroup(this.pid, 'SIGKILL'), graceMs);
      await this.ended;
      clearTimeout(timer);
    }
    signalGroup(this.pid, 'SIGKILL');
  }

  /** Ends the group by SIGKILL. */
  async kill(): Promise<void> {
    signalGroup(this.pid, 'SIGKILL');
    await this.ended;
  }

  /** As {@link kill} without waiting, for the end of this process. */
  killNow(): void {
    signalGroup(this.pid, 'SIGKILL');
    rmSync(this.pidFile, { force: true });
  }

  private end(how: string): string {
    this.over = true;
    running.delete(this);
    rmSync(this.pidFile, { force: true });
    return how;
  }
}

/** Starts a process in a group of its own, and writes its pid to the state directory. */
export function startProcess(options: ProcessOptions): OwnProcess {
  endWithThisProcess();
  const log = openSync(options.logFile, 'w');
  const child = spawn(options.command, [...options.args], {
    cwd: options.workingDirectory ?? process.cwd(),
    env: { ...process.env, ...options.environment },
    stdio: ['ignore', log, log],
    detached: true,
  });
  closeSync(log);
  const pidFile = join(pidDirectory(options.stateDirectory), options.name);
  const started = new OwnProcess(options.name, child, pidFile);
  if (started.pid > 0) writeFileSync(pidFile, String(started.pid));
  if (started.pid > 0) running.add(started);
  return started;
}

/**
 * Makes this process the owner of the state directory, and ends processes that a killed owner left running in it.
 *
 * @returns the names of the ended processes.
 *
 * @throws Error with a message for users if another owner is alive.
 */
export async function ownStateDirectory(stateDirectory: string): Promise<readonly string[]> {
  mkdirSync(stateDirectory, { recursive: true });
  const ownerFile = join(stateDirectory, 'owner');
  const owner = existsSync(ownerFile) ? readFileSync(ownerFile, 'utf8') : '';
  const pid = owner.split(' ')[0] ?? '';
  if (owner !== '' && pid !== String(process.pid) && owner === birthOf(pid)) {
    throw new Error(`${stateDirectory} is in use by process ${pid}. Stop that first.`);
  }
  writeFileSync(ownerFile, birthOf(String(process.pid)));
  return endStale(stateDirectory);
}

/** The pid and the start time, which together are unique while the machine is up. */
function birthOf(pid: string): string {
  const startedAt = statOf(pid)[19];
  return startedAt === undefined ? '' : `${pid} ${startedAt}`;
}

/**
 * Ends the processes that an earlier owner of the state directory left behind when it was killed with SIGKILL: two
 * servers must not write one directory. A pid may have been reused since, so only a group with a process that names
 * this state directory in its command line, or works inside of it, is ended. Without /proc, groups cannot be
 * recognized, and none is ended.
 *
 * @returns the names of the ended processes.
 */
async function endStale(stateDirectory: string): Promise<readonly string[]> {
  const directory = pidDirectory(stateDirectory);
  const stale: { readonly name: string; readonly group: number }[] = [];
  for (const name of readdirSync(directory)) {
    const group = Number(readFileSync(join(directory, name), 'utf8'));
    if (Number.isInteger(group) && group > 1 && isOurs(group, stateDirectory)) {
      signalGroup(group, 'SIGKILL');
      stale.push({ name, group });
    }
    rmSync(join(directory, name), { force: true });
  }
  while (stale.some(({ group }) => isAlive(group))) await delay(10);
  return stale.map(({ name }) => name);
}

function pidDirectory(stateDirectory: string): string {
  const directory = join(stateDirectory, 'pids');
  mkdirSync(directory, { recursive: true });
  return directory;
}

function isOurs(group: number, stateDirectory: string): boolean {
  if (!existsSync('/proc')) return false;
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry) && groupOf(entry) === group)
    .some((pid) => {
      // redis-server overwrites its command line, but works in its data directory.
      if (`${workingDirectoryOf(pid)}/`.startsWith(`${stateDirectory}/`)) return true;
      return readProc(pid, 'cmdline').includes(`${stateDirectory}/`);
    });
}

/**
 * True while a process of the group runs. A dying process has no working directory any more, while one of its threads
 * may still hold its port: it has ended if it is gone, or a zombie without other threads.
 */
function isAlive(group: number): boolean {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(statOf)
    .filter((stat) => Number(stat[2]) === group)
    .some((stat) => stat[0] !== 'Z' || Number(stat[17]) > 1);
}

function groupOf(pid: string): number {
  return Number(statOf(pid)[2]);
}

/** The fields of a process in /proc, from its state on: the parent, the group, and so on. */
function statOf(pid: string): readonly string[] {
  // The name in brackets before them may contain any character.
  return readProc(pid, 'stat').split(') ').at(-1)?.split(' ') ?? [];
}

function readProc(pid: string, file: 'cmdline' | 'stat'): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    // The process has ended meanwhile.
    return '';
  }
}

function workingDirectoryOf(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return '';
  }
}

function signalGroup(group: number, signal: NodeJS.Signals): void {
  // Group 0 would be our own.
  if (group <= 1) return;
  try {
    process.kill(-group, signal);
  } catch {
    // The group is empty.
  }
}

let watching = false;

/** Ends all started processes when this process ends, except by SIGKILL, which cannot be handled. */
function endWithThisProcess(): void {
  if (watching) return;
  watching = true;
  process.on('exit', () => {
    for (const own of running) own.killNow();
  });
  // Without a listener, these signals would end the process without an `exit` event. Code that stops in order listens
  // as well.
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    process.on(signal, () => {
      if (process.listenerCount(signal) === 1) process.exit(code);
    });
  }
}

/** The last lines of a log, without colours; empty if it does not exist. */
export function lastLines(logFile: string, count = 20): string {
  if (!existsSync(logFile)) return '';
  return stripVTControlCharacters(readFileSync(logFile, 'utf8'))
    .trimEnd()
    .split('\n')
    .slice(-count)
    .join('\n');
}
