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

/** What to run, and where its output goes. */
export interface ProcessOptions {
  /** A name for people and for the pid file, unique within the state directory. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly workingDirectory?: string;
  /** An absolute path. Either `args` name it or `workingDirectory` lies in it; see {@link endStale}. */
  readonly stateDirectory: string;
  /** Both outputs go to this file, which is emptied first. */
  readonly logFile: string;
}

/** How long a process has to end by itself after SIGTERM, in ms. */
const graceMs = 5_000;

/** Every group that this process has started and not seen end, to be ended when it ends itself. */
const running = new Set<OwnProcess>();

/** A process that leads a process group of its own, so that all it starts can be ended with it. */
export class OwnProcess {
  readonly name: string;
  readonly pid: number;
  /** Resolves with what is left to say of it, once it has ended. */
  readonly ended: Promise<string>;
  /** 0 where it has ended by itself and is content. */
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

  /** Held by {@link pause}: it runs no more and has not ended. */
  get isPaused(): boolean {
    return this.isRunning && this.paused;
  }

  /** Holds the group where it is, with its connections open and unanswered. */
  pause(): void {
    if (this.isRunning) signalGroup(this.pid, 'SIGSTOP');
    this.paused = this.isRunning;
  }

  /** Lets a paused group go on. */
  resume(): void {
    if (this.isRunning) signalGroup(this.pid, 'SIGCONT');
    this.paused = false;
  }

  /** Ends the group: SIGTERM, and SIGKILL for what is left when its leader has ended or its time is over. */
  async stop(): Promise<void> {
    if (this.isRunning) {
      signalGroup(this.pid, 'SIGTERM');
      // One that is paused would not hear of it.
      this.resume();
      const timer = setTimeout(() => signalGroup(this.pid, 'SIGKILL'), graceMs);
      await this.ended;
      clearTimeout(timer);
    }
    signalGroup(this.pid, 'SIGKILL');
  }

  /** Ends the group with SIGKILL: nothing in it gets to do anything more. */
  async kill(): Promise<void> {
    signalGroup(this.pid, 'SIGKILL');
    await this.ended;
  }

  /** As {@link kill}, without waiting: for the end of this process. */
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

/** Starts a process in a group of its own, and notes its pid in the state directory. */
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
 * Makes this process the owner of the state directory, and ends what a killed owner left running in it.
 *
 * @returns the names of what was ended.
 * @throws Error with a sentence for people if another owner is alive.
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

/** The pid and the moment of its start, which together never come again while the machine is up. */
function birthOf(pid: string): string {
  const startedAt = statOf(pid)[19];
  return startedAt === undefined ? '' : `${pid} ${startedAt}`;
}

/**
 * Ends what an earlier owner of the state directory left behind because it was killed with SIGKILL: two servers must
 * not write one directory. Pids are given out anew, so a noted pid may by now belong to a stranger. Only a group in which
 * some process still names this state directory in its command line, or works inside of it, is ours and is ended.
 * Where there is no /proc, nothing can be told apart and nothing is ended.
 *
 * @returns the names of what was ended.
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
 * True while a process of the group runs. One that is dying names no directory any more, while a thread of it may still
 * hold its port: it is over when it is gone, or a zombie without other threads.
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

/** What Linux tells of a process, from its state on: the parent, the group, and so forth. */
function statOf(pid: string): readonly string[] {
  // The name in brackets before it may hold anything.
  return readProc(pid, 'stat').split(') ').at(-1)?.split(' ') ?? [];
}

function readProc(pid: string, file: 'cmdline' | 'stat'): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    // It has ended meanwhile.
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
    // Nobody is left in it.
  }
}

let watching = false;

/** Has all that was started end when this process ends, unless by SIGKILL, which nobody is told of. */
function endWithThisProcess(): void {
  if (watching) return;
  watching = true;
  process.on('exit', () => {
    for (const own of running) own.killNow();
  });
  // Without a listener these would end the process with no `exit` event. Whoever wants to stop in order listens too.
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

/** The last lines of a log without its colours, for people; empty if there is none. */
export function lastLines(logFile: string, count = 20): string {
  if (!existsSync(logFile)) return '';
  return stripVTControlCharacters(readFileSync(logFile, 'utf8'))
    .trimEnd()
    .split('\n')
    .slice(-count)
    .join('\n');
}
