import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';

/**
 * A bash that runs the examples of one page one after another, like a reader's terminal. A `curl` before the real one
 * on the PATH records the status of each response.
 */

const pollMs = 20;

/**
 * Records the status of the response, and ends its output with a line end. With -N it also creates a file at the
 * first event.
 */
const curlText = `#!/usr/bin/env bash
headers=$(mktemp "$EXAMPLES/headers.XXXXXX")
note() { awk '/^HTTP/ { status = $2 } END { print status }' "$headers" >> "$EXAMPLES/statuses"; }
if [[ " $* " == *" -N "* ]]; then
  "$REAL_CURL" -sS -D "$headers" "$@" | while IFS= read -r line; do
    printf '%s\\n' "$line"
    if [[ $line =~ ^(data|id): && ! -e $headers.begun ]]; then note; touch "$headers.begun"; fi
  done
else
  "$REAL_CURL" -sS -D "$headers" "$@"; result=$?
  echo
  note
  exit $result
fi
`;

/** Waits for the first event of a stream in the background, so that the reader misses nothing. */
const prelude = `set -E
trap 'echo "line $LINENO: $BASH_COMMAND" >> "$EXAMPLES/errors"' ERR
streams=0
stream_begins() {
  streams=$((streams + 1))
  until [ "$(ls "$EXAMPLES" | grep -c begun)" -ge "$streams" ]; do sleep 0.02; done
}
`;

/** The results of one example. */
export interface Ran {
  readonly statuses: readonly number[];
  /** Of this example so far; its background processes may add to it. */
  output(): string;
  /** Commands that failed. */
  readonly errors: string;
}

/** The shell of one page. Always close it. */
export class PageShell {
  readonly #directory: string;
  readonly #shell: ChildProcess;
  #output = '';
  #blocks = 0;
  #statusesRead = 0;

  /** The directory lies in the tree, so that scripts find its packages. */
  constructor(directory: string, environment: Readonly<Record<string, string>>) {
    this.#directory = directory;
    const bin = join(directory, 'bin');
    mkdirSync(bin, { recursive: true });
    writeFileSync(join(bin, 'curl'), curlText);
    chmodSync(join(bin, 'curl'), 0o755);
    symlinkSync(resolve('local'), join(directory, 'local'));
    writeFileSync(join(directory, 'statuses'), '');
    this.#shell = spawn('bash', ['--noprofile', '--norc'], {
      cwd: directory,
      // A group of its own, so that its background processes end with it.
      detached: true,
      env: {
        ...process.env,
        ...environment,
        PATH: [bin, join(process.execPath, '..'), process.env.PATH].join(delimiter),
        EXAMPLES: directory,
        REAL_CURL: realCurl(),
      },
    });
    for (const stream of [this.#shell.stdout, this.#shell.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
      });
    }
    this.#shell.stdin?.write(prelude);
  }

  /** All output so far, of all examples and of their background processes. */
  get output(): string {
    return this.#output;
  }

  write(file: string, text: string): void {
    writeFileSync(join(this.#directory, file), text);
  }

  /** Runs a block in the shell of the page, and resolves once its last command has ended. */
  async run(text: string): Promise<Ran> {
    this.#blocks += 1;
    const before = this.#output.length;
    const block = `block-${this.#blocks}.sh`;
    const end = join(this.#directory, `ended-${this.#blocks}`);
    this.write(block, `${text.replaceAll(/^(curl -N .*?)( &)?$/gm, '$1 &\nstream_begins')}\n`);
    this.#shell.stdin?.write(`source ./${block} </dev/null; touch ${end}\n`);
    await until(() => existsSync(end) || this.#shell.exitCode !== null);
    const statuses = readFileSync(join(this.#directory, 'statuses'), 'utf8').trim().split('\n');
    const all = statuses.filter((line) => line !== '').map(Number);
    const fresh = all.slice(this.#statusesRead);
    this.#statusesRead = all.length;
    const errors = join(this.#directory, 'errors');
    return {
      statuses: fresh,
      output: () => this.#output.slice(before),
      errors: existsSync(errors) ? readFileSync(errors, 'utf8') : '',
    };
  }

  /** Ends the shell and all of its processes. */
  async close(): Promise<void> {
    const { pid } = this.#shell;
    const ended = new Promise((resolved) => this.#shell.once('close', resolved));
    if (pid === undefined || this.#shell.exitCode !== null) return;
    process.kill(-pid, 'SIGKILL');
    await ended;
  }
}

/** Resolves once `holds`; the timeout of all tests ends a test that never gets there. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await delay(pollMs);
}

function realCurl(): string {
  const found = (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'curl'))
    .find((path) => existsSync(path));
  if (found === undefined) throw new Error('there is no curl on the PATH');
  return found;
}
