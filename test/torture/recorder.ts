/** Collects the history of a torture run while it goes on. */
import type { TortureRead, TortureWrite } from './history.ts';

/** A fault, or an end of one. */
export interface FaultEntry {
  readonly at: number;
  readonly text: string;
}

/** The time of all operations, in ms since 1970: one clock, which never goes back. */
export function clock(): number {
  return performance.timeOrigin + performance.now();
}

/** The operations so far, and their numbers. */
export class Recorder {
  readonly writes: TortureWrite[] = [];
  readonly reads: TortureRead[] = [];
  readonly faults: FaultEntry[] = [];
  readonly complaints: string[] = [];
  readonly counts = new Map<string, number>();
  readonly startedAt = clock();

  write(write: TortureWrite): void {
    this.writes.push(write);
    this.count(`writes ${write.outcome}`);
  }

  read(read: TortureRead): void {
    this.reads.push(read);
    this.count(`reads ${read.consistency === 'plain' ? 'plain' : `by ${read.via}`}`);
  }

  fault(text: string): void {
    this.faults.push({ at: clock(), text });
  }

  /** Notes something that no fault explains. */
  complain(text: string): void {
    // One cause may show in each response.
    if (this.complaints.length < complaintsMaximum) this.complaints.push(text);
  }

  count(name: string): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
  }

  of(name: string): number {
    return this.counts.get(name) ?? 0;
  }
}

const complaintsMaximum = 50;
