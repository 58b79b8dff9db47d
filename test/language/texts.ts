import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { parseSync } from 'vite';

/**
 * Finds the prose of the tree: comments of TypeScript and Lua, and the string literals that people read. It judges
 * nothing; `habits.ts` does.
 */

/** A piece of prose, and the place at which it starts. */
export interface Prose {
  readonly path: string;
  readonly line: number;
  readonly text: string;
}

/** A declaration that other files can import. */
export interface ExportedName {
  readonly path: string;
  readonly name: string;
  readonly isType: boolean;
}

/** The prose and the names of one source file. */
export interface SourceProse {
  readonly path: string;
  readonly comments: readonly Prose[];
  /** String and template literals of three words or more, without claims of `assert` and without SQL. */
  readonly strings: readonly Prose[];
  readonly exports: readonly ExportedName[];
  /** Every identifier of the file, each once. */
  readonly identifiers: ReadonlySet<string>;
}

/** The TypeScript and Lua files that git tracks or would track, and that exist. */
export function sourcePaths(): readonly string[] {
  const listed = spawnSync('git', ['ls-files', '-z', '-c', '-o', '--exclude-standard'], {
    encoding: 'utf8',
  });
  if (listed.status !== 0) throw new Error(`git ls-files failed: ${listed.stderr}`);
  const isSource = /\.(?:ts|tsx|lua)$/;
  return [...new Set(listed.stdout.split('\0'))].filter(
    (path) => isSource.test(path) && path !== 'worker-configuration.d.ts' && existsSync(path),
  );
}

const known = new Map<string, SourceProse>();

/** Reads one file, once per process. Throws if its TypeScript does not parse. */
export function proseOf(path: string): SourceProse {
  const prose = known.get(path) ?? readProse(path);
  known.set(path, prose);
  return prose;
}

function readProse(path: string): SourceProse {
  const source = readFileSync(path, 'utf8');
  return path.endsWith('.lua') ? luaProse(path, source) : typescriptProse(path, source);
}

function luaProse(path: string, source: string): SourceProse {
  const comments = source.split('\n').flatMap((line, index) => {
    const [, text] = /^\s*--\s?(.*)$/.exec(line) ?? [];
    return text === undefined ? [] : [{ path, line: index + 1, text }];
  });
  return { path, comments, strings: [], exports: [], identifiers: new Set() };
}

function typescriptProse(path: string, source: string): SourceProse {
  const { program, comments, errors } = parseSync(path, source);
  if (errors.length > 0) throw new Error(`${path}: ${errors[0]?.message}`);
  const lineAt = (offset: number) => source.slice(0, offset).split('\n').length;
  const strings: Prose[] = [];
  const identifiers = new Set<string>();
  visit(program, (node) => {
    if (node.type === 'Identifier' && typeof node.name === 'string') identifiers.add(node.name);
    const text = textOfLiteral(node);
    if (text === null || !isProse(text)) return;
    strings.push({ path, line: lineAt(Number(node.start)), text });
  });
  return {
    path,
    comments: comments.map(({ start, value }) => ({ path, line: lineAt(start), text: value })),
    strings,
    exports: exportsOf(path, source),
    identifiers,
  };
}

type SyntaxNode = Readonly<Record<string, unknown>>;

/** Calls `see` for each node below `node`, without the claims of `assert` and the names of imported modules. */
function visit(node: unknown, see: (node: SyntaxNode) => void): void {
  if (Array.isArray(node)) {
    for (const each of node) visit(each, see);
    return;
  }
  if (!isSyntaxNode(node)) return;
  see(node);
  if (node.type === 'ImportDeclaration') return;
  for (const [name, child] of Object.entries(node)) {
    if (name === 'arguments' && isAssert(node.callee)) visit([child].flat().slice(0, 1), see);
    else visit(child, see);
  }
}

function isSyntaxNode(value: unknown): value is SyntaxNode {
  return typeof value === 'object' && value !== null && 'type' in value;
}

function isAssert(callee: unknown): boolean {
  return isSyntaxNode(callee) && callee.name === 'assert';
}

function textOfLiteral(node: SyntaxNode): string | null {
  if (node.type === 'Literal') return typeof node.value === 'string' ? node.value : null;
  if (node.type !== 'TemplateLiteral' || !Array.isArray(node.quasis)) return null;
  const parts = node.quasis.filter(isSyntaxNode).map(({ value }) => value);
  return parts
    .map((value) =>
      typeof value === 'object' && value !== null && 'cooked' in value ? String(value.cooked) : '',
    )
    .join('…');
}

function isProse(text: string): boolean {
  if (!text.includes(' ')) return false;
  // A script of Lua.
  if (/\bredis\.p?call\b|\bend local\b|\blocal function\b/.test(text)) return false;
  const words = text.match(/(?<![\w-])[A-Za-z]{2,}(?![\w-])/g) ?? [];
  const isSql = /^\s*(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|WITH|AND|WHERE|ORDER)\b/;
  return words.length >= 3 && !isSql.test(text);
}

function exportsOf(path: string, source: string): readonly ExportedName[] {
  const declaration =
    /^export (?:async |abstract |declare )*(function|interface|type|class|const) (\w+)/gm;
  return [...source.matchAll(declaration)].map(([, kind = '', name = '']) => ({
    path,
    name,
    isType: kind === 'interface' || kind === 'type' || kind === 'class',
  }));
}
