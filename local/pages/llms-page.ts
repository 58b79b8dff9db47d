/** Makes `docs/llms.txt`, the list of all pages for language models (llmstxt.org), from the index of the pages. */
import { readFileSync } from 'node:fs';

const indexPath = 'docs/README.md';

const introduction = `# Lockstep

> Lockstep puts one write into the Redis of every region, or of none. It is a Cloudflare Worker with a Durable Object that
> runs two-phase commit over ordinary Redis databases behind Upstash's REST protocol.
`;

/** The list. Links are relative to the folder of the pages. */
export function llmsPage(): string {
  const line =
    /^## (?<title>.+)$|^\| \[(?<page>[^\]]+)\]\((?<path>[^)]+)\) +\| (?<answers>.+?) +\|$/gm;
  const lines = [...readFileSync(indexPath, 'utf8').matchAll(line)].map(({ groups = {} }) => {
    const { title, page, path, answers } = groups;
    return title === undefined ? `- [${page}](${path}): ${answers}` : `\n## ${title}\n`;
  });
  if (lines.length === 0) throw new Error(`${indexPath} lists no pages`);
  return `${introduction}${lines.join('\n')}\n`;
}
