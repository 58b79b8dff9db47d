/** Makes the page of benchmarks from the committed record of a run. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { generatedNotice, markdownTable } from './markdown.ts';

const recordPath = 'docs/reference/benchmarks.json';

const recordSchema = z.strictObject({
  recorded: z.iso.date(),
  machine: z.string(),
  versions: z.record(z.string(), z.string()),
  parts: z.array(
    z.strictObject({
      title: z.string(),
      command: z.string(),
      figures: z.array(
        z.strictObject({
          figure: z.string(),
          measured: z.string(),
          /** The benchmark fails above this value. Null: the figure is only for comparison. */
          atMost: z.string().nullable(),
        }),
      ),
      note: z.string().optional(),
      /** The printed lines of the benchmark. */
      terminal: z.array(z.string()).optional(),
    }),
  ),
});

type Part = z.infer<typeof recordSchema>['parts'][number];

/** The page of benchmarks, not yet formatted. */
export function benchmarkPage(): string {
  const { recorded, machine, versions, parts } = recordSchema.parse(
    JSON.parse(readFileSync(recordPath, 'utf8')),
  );
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const introduction = `# Benchmarks

${generatedNotice}

\`npm run bench\` measures all of this. It starts five regions with the round trips between AWS regions, and
three regions to measure failures. The command of each part measures that part alone.

Recorded on ${recorded} with ${programs.join(', ')}.
${machine}
Each part is one run. Ratios compare within the run; milliseconds mean little on another machine. The benchmark fails if a
figure is greater than its bound. "…" continues the figure above.
`;
  return [introduction, ...parts.map(sectionOf)].join('\n');
}

function sectionOf({ title, command, figures, note, terminal }: Part): string {
  const rows = figures.map(({ figure, measured, atMost }) => [figure, measured, atMost ?? '–']);
  return [
    `## ${title}\n`,
    `To repeat: \`${command}\`\n`,
    markdownTable(['figure', 'measured', 'at most'], rows),
    ...(note === undefined ? [] : [`${note}\n`]),
    ...(terminal === undefined ? [] : [`\`\`\`\n${terminal.join('\n')}\n\`\`\`\n`]),
  ].join('\n');
}
