import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path/posix';
import { describe, expect, it } from 'vitest';
import { problemKinds } from '../shared/http/problems.ts';

/**
 * The house rules that no compiler and no linter keeps. Each test lists the violations of its rule, as `path:line:
 * text`. New files count before they are committed; files that git ignores do not.
 */

const files = filesOfTree();
const sources = files.filter((path) => /\.(?:ts|tsx)$/.test(path));
const scripts = files.filter((path) => path.endsWith('.lua'));
const tests = sources.filter((path) => path.startsWith('test/') || path === 'vitest.config.ts');
const shared = sources.filter((path) => path.startsWith('shared/'));
const core = sources.filter((path) => path.startsWith('shared/protocol/'));

/** Every name that the code of functions and shared has, with the `#` of a private one. */
const wordsOfCode = new Set(
  [...sources, ...scripts]
    .filter((path) => /^(?:functions|shared)\//.test(path))
    .flatMap((path) => textOf(path).match(/#?\b[A-Za-z_]\w*/g) ?? []),
);

const linesMaximum = 500;
const luaColumnsMaximum = 120;

const topLevel = [
  '.ci',
  '.dev.vars.example',
  '.editorconfig',
  '.gitignore',
  '.npmrc',
  'AGENTS.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'LICENSE',
  'README.md',
  'SECURITY.md',
  'biome.json',
  'docs',
  'functions',
  'local',
  'package-lock.json',
  'package.json',
  'shared',
  'test',
  'tsconfig.json',
  'vitest.config.ts',
  'worker-configuration.d.ts',
  'wrangler.toml',
];

/** Folders of test that no folder of functions or shared gives its name. */
const testFolders = [
  'bench',
  'cases',
  'docs',
  'e2e',
  'language',
  'local',
  'simulation',
  'storage-formats',
  'support',
  'torture',
];

describe('the tree', () => {
  it('has only the listed entries at its top', () => {
    const names = new Set(files.map((path) => path.split('/')[0]));
    expect([...names].sort()).toEqual(topLevel);
  });

  it('has no barrel, and no file whose name hides its content', () => {
    const vague = /(?:^|\/)(?:utils?|helpers?|lib|common|misc)(?:\.[a-z]+)?(?:\/|$)/;
    const barrel = /(?:^|\/)(?:types|index)\.tsx?$/;
    expect(files.filter((path) => vague.test(path) || barrel.test(path))).toEqual([]);
    expect(linesWith(sources, /^\s*export \*/)).toEqual([]);
  });

  it(`has no TypeScript or Lua file of more than ${linesMaximum} lines`, () => {
    const long = [...sources, ...scripts]
      .map((path) => ({ path, lines: textOf(path).trimEnd().split('\n').length }))
      .filter(({ lines }) => lines > linesMaximum);
    expect(long).toEqual([]);
  });

  it('has a lock file without addresses', () => {
    expect(lockedPackages().filter(([, entry]) => entry.resolved !== undefined)).toEqual([]);
  });

  it('has a lock file with the optional packages of every platform, so that npm ci takes it', () => {
    const locked = lockedPackages();
    const names = new Set(locked.map(([place]) => place.split('node_modules/').at(-1)));
    const wanted = locked.flatMap(([, entry]) => Object.keys(entry.optionalDependencies ?? {}));
    expect(wanted.filter((name) => !names.has(name))).toEqual([]);
  });
});

describe('the types', () => {
  it('hold without any', () => {
    expect(linesWith(sources, /(?:[:<,|&(=]|=>|\bas)\s*any\b(?!['":(])/)).toEqual([]);
  });

  it('hold without casts by way of unknown', () => {
    expect(linesWith(sources, /\bas\s+unknown\s+as\b/)).toEqual([]);
  });

  it('hold without comments that suppress compiler errors', () => {
    // Such an order is a comment, so comments are searched too.
    expect(linesWith(sources, /@ts-(?:ignore|nocheck)/, textOf)).toEqual([]);
  });

  it('hold without claims that something is not null', () => {
    expect(linesWith(sources, /[\w)\]]!(?:[.;,)\][]|\s*$)/)).toEqual([]);
  });
});

describe('an import', () => {
  it('of the core stays in shared', () => {
    const strangers = importsOf(core).filter(({ target }) => !target.startsWith('shared/'));
    expect(strangers).toEqual([]);
  });

  it('of shared goes neither up to a shell nor to Node', () => {
    const isOutside = /^(?:functions|local|test)\/|^node:/;
    expect(importsOf(shared).filter(({ target }) => isOutside.test(target))).toEqual([]);
  });

  it('of functions goes neither to local nor to tests', () => {
    const functions = sources.filter((path) => path.startsWith('functions/'));
    const isOutside = /^(?:local|test)\//;
    expect(importsOf(functions).filter(({ target }) => isOutside.test(target))).toEqual([]);
  });

  it('of objects and regions does not go to the edge', () => {
    const inner = sources.filter((path) =>
      /^functions\/(?:coordinator|courier|feed|region)\//.test(path),
    );
    expect(importsOf(inner).filter(({ target }) => target.startsWith('functions/edge/'))).toEqual(
      [],
    );
  });

  it('of local does not go to tests', () => {
    const local = sources.filter((path) => path.startsWith('local/'));
    expect(importsOf(local).filter(({ target }) => target.startsWith('test/'))).toEqual([]);
  });
});

describe('the imports of functions, shared and local', () => {
  it('have no circle, of values or of types', () => {
    const inner = sources.filter((path) => /^(?:functions|shared|local)\//.test(path));
    expect(circlesOf(inner)).toEqual([]);
  });
});

describe('a folder of test', () => {
  it('is named as the source that it tests, or is on the list', () => {
    const foldersOf = (top: RegExp) =>
      files
        .filter((path) => top.test(path) && path.split('/').length > 2)
        .map((path) => path.split('/')[1]);
    const sourceFolders = new Set(foldersOf(/^(?:functions|shared)\//));
    const others = new Set(foldersOf(/^test\//).filter((name) => !sourceFolders.has(name)));
    expect([...others].sort()).toEqual(testFolders);
  });
});

describe('CONTRIBUTING.md and AGENTS.md', () => {
  it('name paths that exist', () => {
    const folders = new Set(files.flatMap((path) => parentsOf(path)));
    const named = ['CONTRIBUTING.md', 'AGENTS.md'].flatMap((page) =>
      pathsIn(textOf(page)).map((path) => ({ page, path })),
    );
    const missing = named.filter(({ path }) => !files.includes(path) && !folders.has(path));
    expect(missing).toEqual([]);
    expect(named.length).toBeGreaterThan(40);
  });

  it('give the purpose of each folder', () => {
    const text = textOf('CONTRIBUTING.md');
    const folders = new Set(
      files
        .map((path) => path.split('/'))
        .filter(([top = '']) => ['functions', 'shared', 'local', 'test'].includes(top))
        .flatMap((parts) => (parts.length > 2 ? [parts.slice(0, 2).join('/')] : [])),
    );
    expect([...folders].filter((folder) => !text.includes(`| \`${folder}\``))).toEqual([]);
  });
});

describe('the core', () => {
  it('has no clock, no timer and no randomness of its own', () => {
    const impure =
      /\bDate\b|\bMath\.random\b|\bcrypto\b|\bperformance\b|\bset(?:Timeout|Interval)\b/;
    expect(linesWith(core, impure)).toEqual([]);
  });
});

describe('an export of shared', () => {
  it('has a doc comment', () => {
    const declaration = /^export (?:async |abstract )*(?:function|interface|type|class|const)\b/;
    const bare = shared.flatMap((path) => {
      const lines = textOf(path).split('\n');
      return lines.flatMap((line, index) =>
        declaration.test(line) && !lines[index - 1]?.trimEnd().endsWith('*/')
          ? [`${path}:${index + 1}: ${line}`]
          : [],
      );
    });
    expect(bare).toEqual([]);
  });
});

describe('a Lua file', () => {
  it('opens with its contract', () => {
    const faults = scripts.flatMap((path) => contractFaults(path).map((fault) => [path, fault]));
    expect(faults).toEqual([]);
  });

  it(`has lines of up to ${luaColumnsMaximum} columns`, () => {
    expect(linesWith(scripts, new RegExp(`^.{${luaColumnsMaximum + 1}}`, 'u'), textOf)).toEqual([]);
  });
});

describe('a test', () => {
  it('always runs, and is never alone', () => {
    const dodge = /\b(?:it|test|describe|suite)\.(?:skip|only|todo|fails|skipIf|runIf)\b/;
    expect(linesWith(tests, dodge)).toEqual([]);
  });

  it('runs once', () => {
    // A client's setting of this name is an object of another form.
    expect(linesWith(tests, /\bretry:\s*(?:\d|\{\s*count\b)/)).toEqual([]);
  });
});

describe('PROTOCOL.md', () => {
  const rules = rulesOfProtocol();

  it('numbers its rules without a gap', () => {
    const numbers = rules.map(({ number }) => number).sort((a, b) => a - b);
    expect(numbers).toEqual(numbers.map((_, index) => index + 1));
    expect(numbers.length).toBeGreaterThan(0);
  });

  it('gives each rule a reason and an enforcement', () => {
    const bare = rules.filter(({ why, enforcedBy }) => why === '' || enforcedBy === '');
    expect(bare.map(({ number }) => `R${number}`)).toEqual([]);
  });

  it('names only existing files and symbols that enforce a rule', () => {
    const unknown = rules.flatMap(({ number, enforcedBy }) =>
      unknownNames(enforcedBy).map((name) => `R${number} names ${name}, which does not exist`),
    );
    expect(unknown).toEqual([]);
  });

  it('names for each rule a test that exists', () => {
    const unproven = rules.flatMap(({ number, tests: cell }) => {
      const missing = namedTests(cell).filter((name) => !isInTree(name));
      if (namedTests(cell).length === 0) return [`R${number} names no test`];
      return missing.map((name) => `R${number} names ${name}, which does not exist`);
    });
    expect(unproven).toEqual([]);
  });

  it('is cited by rules that it has', () => {
    const known = new Set(rules.map(({ number }) => number));
    const cited = [...sources, ...scripts].flatMap((path) =>
      [...textOf(path).matchAll(/\bR(\d{1,2})\b/g)]
        .filter(([, number]) => !known.has(Number(number)))
        .map(([text]) => `${path}: ${text}`),
    );
    expect(cited).toEqual([]);
  });
});

describe('a problem', () => {
  it('has a section of the page of problems, with its status', () => {
    const page = textOf('docs/reference/problems.md');
    const missing = Object.entries(problemKinds).filter(
      ([name, { status }]) => !page.includes(`\n## ${name}\n\n**${status}** `),
    );
    expect(missing.map(([name]) => name)).toEqual([]);
  });

  it('is used somewhere', () => {
    const users = sources.filter((path) => /^(?:functions|shared)\//.test(path));
    const texts = users.filter((path) => !path.endsWith('/problems.ts')).map(textOf);
    const unused = Object.keys(problemKinds).filter(
      (name) => !texts.some((text) => text.includes(`'${name}'`)),
    );
    expect(unused).toEqual([]);
  });
});

describe('a limit', () => {
  const files = ['limits', 'edge-limits', 'storage-limits', 'webhook-limits'].map(
    (name) => `shared/${name}.ts`,
  );
  const text = files.map(textOf).join('\n');
  const names = [...text.matchAll(/^ {2}(\w+):/gm)].map(([, name = '']) => name);

  it('is asserted to be in order with its relatives', () => {
    const asserts = ['shared/limit-relations.ts', 'shared/storage-limits.ts']
      .map(textOf)
      .join('\n');
    const stemOf = (name: string) =>
      name.replace(/(?:(?:Min|Max)Ms|First|Last|Minimum|Default|Maximum)$/, '');
    const related = names.filter(
      (name) => names.filter((other) => stemOf(other) === stemOf(name)).length > 1,
    );
    expect(related.filter((name) => !asserts.includes(`imits.${name}`))).toEqual([]);
    expect(related.length).toBeGreaterThan(0);
  });

  it('limits something', () => {
    const users = sources.filter((path) => /^(?:functions|shared)\//.test(path));
    const all = users.filter((path) => !files.includes(path)).map(textOf);
    const isUsed = (name: string) => all.some((each) => new RegExp(`\\b${name}\\b`).test(each));
    expect(names.filter((name) => !isUsed(name))).toEqual([]);
  });
});

/** The files that git tracks, and those that it would. */
function filesOfTree(): readonly string[] {
  const listed = spawnSync('git', ['ls-files', '-z', '-c', '-o', '--exclude-standard'], {
    encoding: 'utf8',
  });
  if (listed.status !== 0) throw new Error(`git ls-files failed: ${listed.stderr}`);
  // A file that was deleted but not yet committed is still listed.
  return [...new Set(listed.stdout.split('\0'))].filter((path) => path !== '' && existsSync(path));
}

function textOf(path: string): string {
  return readFileSync(path, 'utf8');
}

/** The text with comments and plain strings emptied; lines keep their numbers. */
function codeOf(path: string): string {
  const blank = (text: string) => text.replaceAll(/[^\n]/g, '');
  return textOf(path)
    .replaceAll(/^\s*\/\*[\s\S]*?\*\//gm, blank)
    .replaceAll(/(?<=^|\s)\/\/.*$/gm, '')
    .replaceAll(/'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/g, "''");
}

function linesWith(
  paths: readonly string[],
  pattern: RegExp,
  read: (path: string) => string = codeOf,
): readonly string[] {
  return paths.flatMap((path) =>
    read(path)
      .split('\n')
      .flatMap((line, index) =>
        pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [],
      ),
  );
}

interface Import {
  readonly path: string;
  /** A path in the tree, or the name of a package. */
  readonly target: string;
}

function importsOf(paths: readonly string[]): readonly Import[] {
  const specifier = /(?:\bfrom\s+|\bimport\s+|\bimport\(\s*)'([^']+)'/g;
  return paths.flatMap((path) =>
    [...textOf(path).matchAll(specifier)].map(([, name = '']) => ({
      path,
      target: name.startsWith('.') ? normalize(join(dirname(path), name)) : name,
    })),
  );
}

/** Groups of files of which each reaches all others by imports (Tarjan's strongly connected components). */
function circlesOf(paths: readonly string[]): readonly (readonly string[])[] {
  const known = new Set(paths);
  const targets = Map.groupBy(
    importsOf(paths).filter(({ target }) => known.has(target)),
    ({ path }) => path,
  );
  const order = new Map<string, number>();
  const open: string[] = [];
  const circles: (readonly string[])[] = [];
  /** Returns the earliest open file that `path` reaches. */
  const visit = (path: string): number => {
    const own = order.size;
    order.set(path, own);
    open.push(path);
    let earliest = own;
    for (const { target } of targets.get(path) ?? []) {
      const seen = order.get(target);
      if (seen === undefined) earliest = Math.min(earliest, visit(target));
      else if (open.includes(target)) earliest = Math.min(earliest, seen);
    }
    if (earliest === own) {
      const circle = open.splice(open.indexOf(path));
      if (circle.length > 1) circles.push(circle.sort());
    }
    return earliest;
  };
  for (const path of paths) if (!order.has(path)) visit(path);
  return circles;
}

/** The folders that hold a file, from the top down. */
function parentsOf(path: string): readonly string[] {
  const parts = path.split('/');
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join('/'));
}

/** The paths of this tree that a page names, in backticks or as links; a pattern with a star is none. */
function pathsIn(page: string): readonly string[] {
  const links = [...page.matchAll(/\]\(([^)#:]+)\)/g)];
  const quoted = [...page.matchAll(/`((?:functions|shared|local|test|docs|\.ci)\/[^`\s]*)`/g)];
  return [...links, ...quoted]
    .map(([, path = '']) => path.replace(/\/$/, ''))
    .filter((path) => !path.includes('*'));
}

/** The faults of the comment at the head of a Lua file. */
function contractFaults(path: string): readonly string[] {
  const lines = textOf(path).split('\n');
  const end = lines.findIndex((line) => !line.startsWith('--'));
  const header = lines.slice(0, end).join('\n');
  const code = lines.slice(end).join('\n');
  const faults: string[] = [];
  if (end < 3) faults.push('has no header of three lines or more');
  for (const name of ['KEYS', 'ARGV']) {
    if (code.includes(`${name}[`) && !header.includes(name))
      faults.push(`does not explain ${name}`);
  }
  // A script that takes arguments is a whole one, and has replies.
  if (code.includes('ARGV[') && !/Guarantees:/.test(header))
    faults.push('does not say Guarantees:');
  if (code.includes('ARGV[') && !/Replies/.test(header)) faults.push('does not list its replies');
  return faults;
}

interface Rule {
  readonly number: number;
  readonly why: string;
  readonly enforcedBy: string;
  readonly tests: string;
}

/** The rules of PROTOCOL.md: each has a heading, its reason, its enforcement, and the tests that check it. */
function rulesOfProtocol(): readonly Rule[] {
  const text = textOf('shared/protocol/PROTOCOL.md');
  const rules = [...text.matchAll(/^### R(\d+)\. .*\n([\s\S]*?)(?=^##|$(?!\n))/gm)];
  return rules.map(([, number, body = '']) => {
    const field = (name: string) =>
      new RegExp(`^\\*\\*${name}:\\*\\* ([\\s\\S]*?)(?=\\n\\n|\\n*$(?!\\n))`, 'm').exec(
        body,
      )?.[1] ?? '';
    const tests = field('Tests');
    return { number: Number(number), why: field('Why'), enforcedBy: field('Enforced by'), tests };
  });
}

/** Names in backticks that are neither a file of the tree nor words that the code has. */
function unknownNames(text: string): readonly string[] {
  const names = [...text.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);
  return names.filter((name) => {
    if (/\.[a-z]+$/.test(name) && isInTree(name)) return false;
    if (files.some((path) => path.startsWith(`${name}/`))) return false;
    return !name.split('.').every((word) => wordsOfCode.has(word));
  });
}

/** The tests that a cell names: files in backticks, or the first word of a suite's file. A script of npm is no file. */
function namedTests(cell: string): readonly string[] {
  return cell
    .split(/[;,]/)
    .map((name) => name.trim().replaceAll(/[`.]+$|^`/g, ''))
    .filter((name) => name !== '' && !name.startsWith('npm run '))
    .map((name) => (name.endsWith('.test.ts') ? name : `${name}.test.ts`));
}

function isInTree(name: string): boolean {
  return files.some((path) => path === name || path.endsWith(`/${name}`));
}

interface LockedPackage {
  readonly resolved?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

function lockedPackages(): readonly (readonly [place: string, entry: LockedPackage])[] {
  const lock: { readonly packages: Readonly<Record<string, LockedPackage>> } = JSON.parse(
    textOf('package-lock.json'),
  );
  return Object.entries(lock.packages);
}
