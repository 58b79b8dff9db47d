import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path/posix';
import { describe, expect, it } from 'vitest';
import { eventTypes } from '../../shared/contracts/webhooks-and-feed.ts';

/**
 * The targets of the pages' links exist: files, headings and other pages. Addresses outside of the project are not
 * requested. Lists on pages that are written by hand are complete.
 */

const frontPageLines = 150;
const pages = listed('*.md');
const index = 'docs/README.md';

describe('a page', () => {
  it('links to files and headings that exist', () => {
    expect(pages.flatMap(brokenLinksOf)).toEqual([]);
  });

  it('of docs is listed in its index', () => {
    const linked = new Set(linksOf(index).map(({ path }) => path));
    const own = pages.filter((page) => page.startsWith('docs/') && page !== index);
    expect(own.filter((page) => !linked.has(page))).toEqual([]);
    expect(own.length).toBeGreaterThan(0);
  });
});

describe('the guide to webhooks', () => {
  it('has a row per event, in the order of their names in the code', () => {
    const [, section = ''] = textOf('docs/guides/webhooks.md').split(/^## Events$/m);
    const [table = ''] = section.split(/^## /m);
    const named = [...table.matchAll(/^\| `([a-z.]+)` /gm)].map(([, name]) => name);
    expect(named).toEqual([...eventTypes]);
  });
});

describe('the front page', () => {
  it(`has at most ${frontPageLines} lines`, () => {
    expect(textOf('README.md').trimEnd().split('\n').length).toBeLessThanOrEqual(frontPageLines);
  });
});

describe('a picture', () => {
  const pictures = listed('docs/*.svg');

  it('loads nothing, runs nothing, and has a dark form and a description', () => {
    const texts = pictures.map(textOf);
    const loaded = /<script|<foreignObject|@import|url\(|href=|\bon\w+=/;
    expect(texts.filter((text) => loaded.test(text))).toEqual([]);
    const needed = [/prefers-color-scheme: dark/, /<title[ >]/, /<desc[ >]/];
    expect(texts.filter((text) => !needed.every((each) => each.test(text)))).toEqual([]);
    expect(pictures.length).toBeGreaterThan(0);
  });
});

interface Link {
  /** The link's text in the page. */
  readonly text: string;
  /** From the top of the tree. */
  readonly path: string;
  readonly heading: string | null;
}

function brokenLinksOf(page: string): readonly string[] {
  return linksOf(page).flatMap(({ text, path, heading }) => {
    if (!existsSync(path)) return [`${page}: ${text} leads to no file`];
    if (heading === null || !path.endsWith('.md')) return [];
    return headingsOf(path).includes(heading) ? [] : [`${page}: ${text} leads to no heading`];
  });
}

/** The links of a page within the project, outside of code. */
function linksOf(page: string): readonly Link[] {
  return [...proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, text = '']) => text)
    .filter((text) => !/^[a-z]+:/.test(text))
    .map((text) => {
      const [file = '', heading = null] = text.split('#');
      return { text, path: file === '' ? page : normalize(join(dirname(page), file)), heading };
    });
}

/** The anchors of a page's headings, as GitHub makes them. Headings that repeat get numbers there, and none here. */
function headingsOf(page: string): readonly string[] {
  return [...proseOf(page).matchAll(/^#{1,6} +(.*?) *$/gm)].map(([, text = '']) =>
    text
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

function proseOf(page: string): string {
  return textOf(page).replaceAll(/^ *```[\s\S]*?^ *```$/gm, '');
}

function textOf(path: string): string {
  return readFileSync(path, 'utf8');
}

/** The files that git tracks or would track. */
function listed(pattern: string): readonly string[] {
  const found = spawnSync(
    'git',
    ['ls-files', '-z', '-c', '-o', '--exclude-standard', '--', pattern],
    { encoding: 'utf8' },
  );
  if (found.status !== 0) throw new Error(`git ls-files failed: ${found.stderr}`);
  return [...new Set(found.stdout.split('\0'))].filter((path) => path !== '' && existsSync(path));
}
