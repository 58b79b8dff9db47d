/** The rows that the coordinator's storage writes, as the platform bills them, by the number of writes that meet. */
import { MemoryStorage } from '../../coordinator/sqlite.ts';
import { begun } from '../../coordinator/stored.ts';
import { frameOf } from '../../protocol/core-harness.ts';
import { SingleInstance } from '../../simulation/single-instance.ts';
import type { Figure } from '../measure.ts';
import { type ReportTable, shown } from '../report.ts';

const regions = ['near', 'middle', 'far'];
const counts = [1, 4, 16, 64, 256];
const turns = 10;

/** The rows per write if `together` writes arrive at once, again and again, in a core with three regions. */
function rowsPerWrite(together: number): number {
  const memory = new MemoryStorage();
  const { storage, stored } = begun(memory);
  const instance = new SingleInstance(regions, stored);
  let persisted = 0;
  const send = (first: number) => {
    const frames = Array.from({ length: together }, (_, index) =>
      frameOf([`key:${first + index}`]),
    );
    for (const frame of frames) instance.arrive(frame);
    instance.settle();
    for (const step of instance.steps.slice(persisted)) storage.write(step.persist);
    persisted = instance.steps.length;
  };
  send(0);
  const before = memory.rowsWritten;
  for (let turn = 1; turn <= turns; turn += 1) send(turn * together);
  return (memory.rowsWritten - before) / turns / together;
}

/** The goals, by the number of writes at once. */
const goals: Readonly<Record<number, number>> = { 1: 3, 256: 0.1 };

/** A table of them, with the goals. */
export function measureRows(say: (line: string) => void): {
  readonly table: ReportTable;
  readonly figures: readonly Figure[];
} {
  const measured = counts.map((count) => {
    say(`  ${count} writes at once`);
    return { count, rows: rowsPerWrite(count) };
  });
  return {
    table: {
      title: `Rows written by the coordinator, ${regions.length} regions`,
      columns: ['writes at once', 'rows per write'],
      rows: measured.map(({ count, rows }) => [String(count), shown(rows)]),
    },
    figures: measured
      .filter(({ count }) => goals[count] !== undefined)
      .map(({ count, rows }) => ({
        name: `rows per write, ${count} at once`,
        value: rows,
        unit: 'count',
        limit: goals[count] ?? null,
      })),
  };
}
