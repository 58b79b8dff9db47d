/** Makes the page of benchmarks from the committed record of a run. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { generatedNotice, markdownTable } from './markdown.ts';

/** The committed record. */
export const benchmarkRecord = 'docs/reference/benchmarks.json';

/** The folder of the pictures that the page shows. */
export const benchmarkPictures = 'docs/images/benchmarks';

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
          /** A bound in words, in the place of `atMost`; empty if there is none. */
          bound: z.string().optional(),
          /** The least and the greatest of single runs, if the figure is a median. */
          runs: z.string().optional(),
        }),
      ),
      /** The date, machine, versions and setting, if the benchmark recorded them itself. */
      run: z
        .strictObject({
          on: z.iso.date(),
          machine: z.string(),
          versions: z.record(z.string(), z.string()),
          setting: z.string(),
        })
        .optional(),
      tables: z
        .array(
          z.strictObject({
            title: z.string(),
            columns: z.array(z.string()),
            rows: z.array(z.array(z.string())),
          }),
        )
        .optional(),
      /** Files in the folder of pictures. */
      pictures: z.array(z.strictObject({ file: z.string(), alt: z.string() })).optional(),
      note: z.string().optional(),
      /** The printed lines of the benchmark. */
      terminal: z.array(z.string()).optional(),
    }),
  ),
});

/** The recorded results of all parts. */
export type BenchmarkRecord = z.infer<typeof recordSchema>;

type Part = BenchmarkRecord['parts'][number];

/** The page of benchmarks, not yet formatted. */
export function benchmarkPage(): string {
  const { recorded, machine, versions, parts } = recordSchema.parse(
    JSON.parse(readFileSync(benchmarkRecord, 'utf8')),
  );
  const introduction = `# Benchmarks

${generatedNotice}

\`npm run bench\` measures this, but for the parts that its help lists as running only by name. It starts five regions with the round trips between AWS regions, and
three regions to measure failures. The command of each part measures that part alone.

Recorded on ${recorded} with ${programsOf(versions)}, if a part does not say otherwise.
${machine}
Each part is one run. Ratios compare within the run; milliseconds mean little on another machine. The benchmark fails if a
figure is greater than its bound. "…" continues the figure above.
`;
  return [introduction, ...parts.map(sectionOf)].join('\n');
}

function sectionOf(part: Part): string {
  const { title, command, run, figures, tables, pictures, note, terminal } = part;
  return [
    `## ${title}\n`,
    `To repeat: \`${command}\`\n`,
    ...(run === undefined ? [] : [`${runOf(run)}\n`]),
    ...(figures.length === 0 ? [] : [figureTable(figures)]),
    ...(tables ?? []).flatMap((table) => [
      `### ${table.title}\n`,
      markdownTable(table.columns, table.rows),
    ]),
    ...(pictures ?? []).map(({ file, alt }) => `![${alt}](../images/benchmarks/${file})\n`),
    ...(note === undefined ? [] : [`${note}\n`]),
    ...(terminal === undefined ? [] : [`\`\`\`\n${terminal.join('\n')}\n\`\`\`\n`]),
  ].join('\n');
}

function runOf({ on, machine, versions, setting }: NonNullable<Part['run']>): string {
  const start = setting === '' ? '' : `${setting} `;
  return `${start}Recorded on ${on} with ${programsOf(versions)}, on ${machine}.`;
}

function figureTable(figures: Part['figures']): string {
  const boundOf = ({ atMost, bound }: Part['figures'][number]) => bound || (atMost ?? '–');
  if (figures.every(({ bound }) => bound === undefined)) {
    const rows = figures.map((each) => [each.figure, each.measured, boundOf(each)]);
    return markdownTable(['figure', 'measured', 'at most'], rows);
  }
  const rows = figures.map((each) => [each.figure, each.measured, boundOf(each), each.runs || '–']);
  return markdownTable(['figure', 'measured', 'bound', 'single runs'], rows);
}

function programsOf(versions: Readonly<Record<string, string>>): string {
  return Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ');
}
