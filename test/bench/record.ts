/** Records the results of a part in the page of benchmarks: `--record`. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import {
  type BenchmarkRecord,
  benchmarkPictures,
  benchmarkRecord,
} from '../../local/pages/benchmark-page.ts';
import type { Machine } from './machine.ts';
import { boundOf, type Figure, format, spreadOf } from './measure.ts';
import type { BenchReport } from './report.ts';

/** Replaces the part with the same title, or adds it, and makes the pages again. */
export function recordReport(report: BenchReport, machine: Machine): void {
  mkdirSync(benchmarkPictures, { recursive: true });
  for (const { name, svg } of report.pictures) {
    writeFileSync(join(benchmarkPictures, `${name}.svg`), svg);
  }
  const record: BenchmarkRecord = JSON.parse(readFileSync(benchmarkRecord, 'utf8'));
  const part = partOf(report, machine);
  const isKnown = record.parts.some(({ title }) => title === part.title);
  const parts = isKnown
    ? record.parts.map((other) => (other.title === part.title ? part : other))
    : [...record.parts, part];
  writeFileSync(benchmarkRecord, `${JSON.stringify({ ...record, parts }, null, 2)}\n`);
  const biome = join('node_modules', '.bin', 'biome');
  spawnSync(biome, ['format', '--write', benchmarkRecord], { stdio: 'ignore' });
  spawnSync(process.execPath, [join('local', 'pages', 'docs.ts')], { stdio: 'inherit' });
}

function partOf(
  report: BenchReport,
  { machine, load, versions }: Machine,
): BenchmarkRecord['parts'][0] {
  return {
    title: report.title,
    command: report.command,
    run: {
      on: new Date().toISOString().slice(0, 10),
      machine: `${machine}; load average before: ${load.toFixed(1)}`,
      versions: { ...versions },
      setting: report.setting,
    },
    figures: report.figures.map(figureOf),
    tables: report.tables.map(({ title, columns, rows }) => ({
      title,
      columns: [...columns],
      rows: rows.map((row) => [...row]),
    })),
    pictures: report.pictures.map(({ name, alt }) => ({ file: `${name}.svg`, alt })),
    ...(report.note === null ? {} : { note: report.note }),
  };
}

function figureOf(figure: Figure): BenchmarkRecord['parts'][0]['figures'][0] {
  const { name, value, unit } = figure;
  const isBare = unit === 'ratio' || unit === 'count';
  return {
    // A name that is indented continues the one above.
    figure: name.replace(/^\s+/, '… '),
    measured: `${format(value, unit)}${isBare ? '' : ` ${unit}`}`,
    atMost: null,
    bound: boundOf(figure),
    runs: spreadOf(figure),
  };
}
