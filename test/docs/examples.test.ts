import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../../local/stack/free-port.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { blocksOf, type Example, examplesOf } from './page-blocks.ts';
import { PageShell } from './page-shell.ts';

/**
 * Runs the examples of all pages from the pages' own text, against a whole stack. Every command has to succeed, every
 * response has to have a status that the page shows or a status of success, and the names and messages that the page
 * shows have to appear. Blocks that cannot run here give the reason in a comment `<!-- no-run: … -->`.
 */

const pages = listedPages();
const examples = new Map(pages.map((page) => [page, examplesOf(blocksOf(page))]));
const all = [...examples.values()].flat();
const idPatterns = [/\b0-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, /\bep_[0-9a-f]{32}/g];
/** The port of the pages' receiver. */
const receiverPort = '9000';

/** The data that a page assumes, besides a running stack. */
const prepare: Readonly<Record<string, (stack: TestStack) => Promise<unknown>>> = {
  'docs/guides/change-feed.md': (stack) =>
    stack.send('POST', '/v1/writes', { ops: [['INCR', 'order:8:items']] }),
  'docs/operate/verify-and-repair.md': async (stack) => {
    await stack.send('POST', '/v1/writes', { ops: [['SET', 'a', '1']], ack: 'confirmed' });
    const client = stack.regions[0]?.client;
    await client?.set('a', 'written outside of Lockstep');
    await client?.set('strange', 'written outside of Lockstep');
  },
};

describe('the examples', () => {
  let stack: TestStack;
  let root: string;
  beforeAll(async () => {
    mkdirSync('.lockstep', { recursive: true });
    root = mkdtempSync(resolve('.lockstep', 'examples-'));
    stack = await startTestStack();
    await stack.send('POST', '/v1/writes', { ops: [['SET', 'hello', 'x']], ack: 'confirmed' });
  });
  afterAll(async () => {
    await stack?.stop();
    if (root !== undefined) rmSync(root, { recursive: true });
  });

  const runnable = pages.filter((page) => examples.get(page)?.some(isRun));
  it.each(runnable)('of %s run', async (page) => {
    await stack.send('POST', '/', ['FLUSHALL']);
    await prepare[page]?.(stack);
    const directory = join(root, page.replaceAll('/', '-'));
    mkdirSync(join(directory, '.lockstep'), { recursive: true });
    const local = { url: stack.url, tokens: stack.tokens };
    writeFileSync(join(directory, '.lockstep', 'local.json'), JSON.stringify(local));
    const shell = new PageShell(directory, {
      LOCKSTEP: stack.url,
      LOCKSTEP_URL: stack.url,
      LOCKSTEP_TOKEN: stack.tokens.write,
    });
    try {
      const variables = all.find(({ text }) => text.startsWith('started()'));
      await shell.run(variables?.text ?? '');
      await new PageRun(shell, String(await freePort(0))).run(
        (examples.get(page) ?? []).filter(isRun),
      );
    } finally {
      await shell.close();
      await allVote(stack);
    }
  });

  it('in TypeScript compile with strict types', () => {
    const directory = mkdtempSync(resolve('.lockstep', 'examples-types-'));
    try {
      const files = all
        .filter(({ language }) => language === 'ts')
        .map(({ text }, index) => {
          const file = join(directory, `example-${index}.ts`);
          writeFileSync(file, text);
          return file;
        });
      const options = [
        ...['--noEmit', '--strict', '--skipLibCheck', '--ignoreConfig', '--types', 'node'],
        ...['--target', 'ES2024', '--module', 'ESNext', '--moduleResolution', 'Bundler'],
      ];
      const tsc = join('node_modules', '.bin', 'tsc');
      const { stdout, status } = spawnSync(tsc, [...options, ...files], { encoding: 'utf8' });
      expect(stdout).toBe('');
      expect(status).toBe(0);
      expect(files.length).toBeGreaterThan(0);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe('a block', () => {
  it('of commands is marked as such', () => {
    const command = /^(?:export |\w+=\S+ )?(?:curl|npm|npx|node|git|wrangler) /m;
    const plain = pages.flatMap(blocksOf).filter(({ language }) => language === '');
    const unmarked = plain.filter(({ text }) => command.test(text.split('\n')[0] ?? ''));
    expect(unmarked.map(({ page, line }) => `${page}:${line}`)).toEqual([]);
  });

  it('is of a language that the test can run', () => {
    const strange = all.filter(({ language }) => !['sh', 'js', 'ts'].includes(language));
    expect(strange.map(({ page, line, language }) => `${page}:${line}: ${language}`)).toEqual([]);
  });

  it('gives the reason if it does not run, and few do not', () => {
    const skipped = all.filter((example) => !isRun(example));
    const run = all.length - skipped.length;
    console.log(`${run} examples of ${pages.length} pages run, ${skipped.length} do not:`);
    for (const { page, line, notRun } of skipped) console.log(`  ${page}:${line}: ${notRun}`);
    expect(skipped.length).toBeLessThanOrEqual(notRunMaximum);
    expect(run).toBeGreaterThanOrEqual(runMinimum);
  });
});

const notRunMaximum = 6;
const runMinimum = 30;

/** Runs the examples of one page, with real ids in place of those that the page shows. */
class PageRun {
  readonly #shell: PageShell;
  readonly #port: string;
  /** The real id for each id that the page shows. */
  readonly #ids = new Map<string, string>();

  constructor(shell: PageShell, port: string) {
    this.#shell = shell;
    this.#port = port;
  }

  async run(own: readonly Example[]): Promise<void> {
    for (const example of own) {
      if (example.language === 'sh') await this.#runCommands(example);
      else await this.#runScript(example);
    }
  }

  async #runCommands(example: Example): Promise<void> {
    const { page, line, shown } = example;
    const times = /\btwice\b/.test(example.lead) ? 2 : 1;
    const text = this.#translated(example.text).replaceAll(/^(.*\bfollow\.mjs)$/gm, '$1 &');
    const ran = await this.#shell.run(Array.from({ length: times }, () => text).join('\n'));
    const where = `${page}:${line}`;
    expect(ran.errors, `${where} has a command that fails`).toBe('');
    const expected = new Set(shown.flatMap(statusesIn));
    const wrong = ran.statuses.filter(
      (status) => (status < 200 || status > 299) && !expected.has(status),
    );
    expect(wrong, `${where}: ${ran.output()}`).toEqual([]);
    await this.#awaitShown(example, text);
    // Each kind for itself: an event that the receiver prints late brings the id of an earlier write.
    for (const pattern of idPatterns) {
      const ids = [...new Set(shown.join('\n').match(pattern) ?? [])];
      const actual = [...new Set(ran.output().match(pattern) ?? [])];
      ids.forEach((id, index) => {
        const came = actual[index];
        if (came !== undefined) this.#ids.set(id, came);
      });
    }
  }

  /** The output that the page shows may follow later; commands that only read are repeated until it does. */
  async #awaitShown({ page, line, shown }: Example, text: string): Promise<void> {
    const parts = shown.flatMap(partsOf);
    const missing = () => parts.filter((part) => !this.#shell.output.includes(part));
    const isReading = /^curl (?!.*\s-(?:d|X)\b).*$/.test(text.trim());
    const left = async () => {
      if (missing().length > 0 && isReading) await this.#shell.run(text);
      return missing();
    };
    await expect
      .poll(left, { message: `${page}:${line} shows output that does not appear` })
      .toEqual([]);
  }

  async #runScript(example: Example): Promise<void> {
    const saved = /Save this as `([\w.-]+)`/.exec(example.lead.replaceAll('\n', ' '))?.[1];
    const file = saved ?? `example-${example.line}.${example.language === 'ts' ? 'ts' : 'mjs'}`;
    this.#shell.write(file, this.#translated(example.text));
    if (saved !== undefined) return;
    const { errors, output } = await this.#shell.run(`node ${file}`);
    expect(errors, `${example.page}:${example.line}: ${output()}`).toBe('');
  }

  #translated(text: string): string {
    const withPort = text.replaceAll(new RegExp(`\\b${receiverPort}\\b`, 'g'), this.#port);
    return idPatterns.reduce(
      (translated, pattern) => translated.replaceAll(pattern, (id) => this.#ids.get(id) ?? id),
      withPort,
    );
  }
}

function isRun({ notRun }: Example): boolean {
  return notRun === null;
}

function statusesIn(shown: string): readonly number[] {
  const found = shown.matchAll(/"status":(\d{3})|HTTP\/1\.1 (\d{3})/g);
  return [...found].map(([, body, line]) => Number(body ?? line));
}

/** The parts of a page's output that have to appear: the names of members and headers, and whole events. */
function partsOf(shown: string): readonly string[] {
  const names = [...shown.matchAll(/"\w+":/g)].map(([name]) => name);
  const headers = [...shown.matchAll(/^[A-Z][\w-]+: /gm)].map(([name]) => name);
  const events = [...shown.matchAll(/^data: \w+,.*$/gm)].map(([event]) => event);
  return [...new Set([...names, ...headers, ...events])];
}

/** An example may have evicted a region. */
async function allVote(stack: TestStack): Promise<void> {
  await expect
    .poll(
      async () =>
        JSON.stringify((await stack.send('GET', '/v1/regions')).body).match(/"state":"voter"/g)
          ?.length,
    )
    .toBe(stack.regions.length);
}

/** README.md and all pages of docs that git tracks or would track. */
function listedPages(): readonly string[] {
  const listed = spawnSync(
    'git',
    ['ls-files', '-z', '-c', '-o', '--exclude-standard', '--', 'README.md', 'docs/*.md'],
    { encoding: 'utf8' },
  );
  if (listed.status !== 0) throw new Error(`git ls-files failed: ${listed.stderr}`);
  return [...new Set(listed.stdout.split('\0'))].filter((path) => path !== '' && existsSync(path));
}
