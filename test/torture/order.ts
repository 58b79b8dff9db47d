/**
 * The order of all operations: who came before whom, by the versions of keys and by real time. If that has a circle, no
 * order of one operation after another explains the history; if it has none, each of its linear orders does.
 */
import type { TortureRead, TortureWrite } from './history.ts';
import { type Versions, versionedKeysOf } from './versions.ts';

/** An operation that took effect at one moment between its start and its end. */
export type Placed = TortureWrite | TortureRead;

/** A circle: each operation came before the next, for the reason given, and the last one before the first. */
export type Circle = readonly { readonly operation: Placed; readonly reason: string }[];

interface Edge {
  readonly to: number;
  /** Null for real time. */
  readonly key: string | null;
}

/**
 * Nodes are operations, then one gate per end of an operation. A gate is after all operations that ended by then, and
 * before all that started later, so that the edges of real time stay few.
 */
export class OperationOrder {
  readonly #placed: readonly Placed[];
  readonly #edges: Edge[][];

  constructor(versions: Versions, reads: readonly TortureRead[]) {
    this.#placed = [...versions.committed, ...reads];
    this.#edges = this.#placed.map(() => []);
    const nodes = new Map<Placed, number>(this.#placed.map((operation, node) => [operation, node]));
    this.#orderByVersions(versions, nodes);
    this.#orderByTime();
  }

  /** The writes, one after another, as far as no circle prevents it. */
  writesInOrder(): readonly TortureWrite[] {
    const before = this.#edges.map(() => 0);
    for (const edges of this.#edges) for (const { to } of edges) before[to] = (before[to] ?? 0) + 1;
    const ready = before.flatMap((count, node) => (count === 0 ? [node] : []));
    const found: TortureWrite[] = [];
    for (let node = ready.pop(); node !== undefined; node = ready.pop()) {
      const operation = this.#placed[node];
      if (operation?.kind === 'write') found.push(operation);
      for (const { to } of this.#edges[node] ?? []) {
        before[to] = (before[to] ?? 0) - 1;
        if (before[to] === 0) ready.push(to);
      }
    }
    return found;
  }

  /** A short circle for each group of operations that have no order. */
  circles(): readonly Circle[] {
    return this.#groups()
      .filter((group) => group.length > 1)
      .map((group) => this.#shortestIn(new Set(group)));
  }

  #orderByVersions(versions: Versions, nodes: ReadonlyMap<Placed, number>): void {
    const readersOf = new Map<string, [version: number, node: number][]>();
    for (const operation of this.#placed) {
      if (operation.kind === 'write') continue;
      for (const [key, text] of operation.values) {
        if (!versions.byKey.has(key)) continue;
        const version = versions.versionOf(key, text);
        const node = nodes.get(operation);
        if (version === null || node === undefined) continue;
        const known = readersOf.get(key);
        if (known === undefined) readersOf.set(key, [[version, node]]);
        else known.push([version, node]);
      }
    }
    for (const [key, { writers }] of versions.byKey) {
      const made = writers.flatMap(([version, write]) => {
        const node = nodes.get(write);
        return node === undefined ? [] : [[version, node] as const];
      });
      for (const [index, [, node]] of made.entries()) {
        const next = made[index + 1];
        if (next !== undefined) this.#add(node, next[1], key);
      }
      for (const [version, reader] of readersOf.get(key) ?? []) {
        const after = firstAbove(made, version);
        const source = made[after - 1];
        const next = made[after];
        if (source !== undefined) this.#add(source[1], reader, key);
        if (next !== undefined) this.#add(reader, next[1], key);
      }
    }
  }

  #orderByTime(): void {
    const ends = this.#placed
      .flatMap(({ endedAt }, node) => (endedAt === null ? [] : [{ endedAt, node }]))
      .sort((a, b) => a.endedAt - b.endedAt);
    const first = this.#placed.length;
    for (const [index, { node }] of ends.entries()) {
      this.#edges.push([]);
      this.#add(node, first + index, null);
      if (index > 0) this.#add(first + index - 1, first + index, null);
    }
    const times = ends.map(({ endedAt }, index) => [endedAt, index] as const);
    for (const [node, { startedAt }] of this.#placed.entries()) {
      // Operations that end and start at the same moment overlap.
      const ended = firstAtLeast(times, startedAt);
      if (ended > 0) this.#add(first + ended - 1, node, null);
    }
  }

  #add(from: number, to: number, key: string | null): void {
    if (from !== to) this.#edges[from]?.push({ to, key });
  }

  /** The strongly connected groups (Tarjan's algorithm, without recursion since paths are long). */
  #groups(): readonly (readonly number[])[] {
    const index = new Map<number, number>();
    const low = new Map<number, number>();
    const open: number[] = [];
    const isOpen = new Set<number>();
    const groups: number[][] = [];
    for (const [root] of this.#edges.entries()) {
      if (index.has(root)) continue;
      const path: { readonly node: number; next: number }[] = [];
      const enter = (node: number) => {
        index.set(node, index.size);
        low.set(node, index.size - 1);
        open.push(node);
        isOpen.add(node);
        path.push({ node, next: 0 });
      };
      enter(root);
      for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
        const { node } = top;
        const edge = this.#edges[node]?.[top.next];
        top.next += 1;
        if (edge !== undefined) {
          if (!index.has(edge.to)) enter(edge.to);
          else if (isOpen.has(edge.to)) lower(low, node, index.get(edge.to));
          continue;
        }
        path.pop();
        const parent = path.at(-1);
        if (parent !== undefined) lower(low, parent.node, low.get(node));
        if (low.get(node) !== index.get(node)) continue;
        const group = open.splice(open.lastIndexOf(node));
        for (const each of group) isOpen.delete(each);
        groups.push(group);
      }
    }
    return groups;
  }

  /** The shortest circle through an operation of the group, with gates of time passed over. */
  #shortestIn(group: ReadonlySet<number>): Circle {
    let best: readonly (readonly [node: number, key: string | null])[] = [];
    const starts = [...group].filter((node) => node < this.#placed.length).slice(0, startsMaximum);
    for (const start of starts) {
      const circle = this.#circleFrom(start, group);
      if (best.length === 0 || circle.length < best.length) best = circle;
    }
    const shown: { readonly operation: Placed; readonly reason: string }[] = [];
    for (const [node, key] of best) {
      const operation = this.#placed[node];
      if (operation === undefined) continue;
      const reason = key === null ? 'ended before the next began' : `came first on ${key}`;
      shown.push({ operation, reason });
    }
    return shown;
  }

  #circleFrom(start: number, group: ReadonlySet<number>) {
    const cameBy = new Map<number, readonly [from: number, key: string | null]>();
    const queue = [start];
    for (const node of queue) {
      for (const { to, key } of this.#edges[node] ?? []) {
        if (!group.has(to) || cameBy.has(to)) continue;
        cameBy.set(to, [node, key]);
        if (to === start) return pathTo(start, cameBy);
        queue.push(to);
      }
    }
    return [];
  }
}

/** More starts would hardly make a circle shorter, and each takes a search. */
const startsMaximum = 200;

function pathTo(start: number, cameBy: ReadonlyMap<number, readonly [number, string | null]>) {
  const path: [number, string | null][] = [];
  let node = start;
  do {
    const [from, key] = cameBy.get(node) ?? [start, null];
    path.push([from, key]);
    node = from;
  } while (node !== start);
  return path.reverse();
}

function lower(low: Map<number, number>, node: number, to: number | undefined): void {
  const present = low.get(node);
  if (present !== undefined && to !== undefined && to < present) low.set(node, to);
}

/** The index of the first pair whose number is above the limit. */
function firstAbove(pairs: readonly (readonly [number, number])[], limit: number): number {
  return firstWith(pairs, (number) => number > limit);
}

/** The index of the first pair whose number is at least the limit. */
function firstAtLeast(pairs: readonly (readonly [number, number])[], limit: number): number {
  return firstWith(pairs, (number) => number >= limit);
}

function firstWith(
  pairs: readonly (readonly [number, number])[],
  isBehind: (number: number) => boolean,
): number {
  let low = 0;
  let high = pairs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isBehind(pairs[middle]?.[0] ?? Number.POSITIVE_INFINITY)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The versioned keys that an operation touches, for people who read a circle. */
export function keysTouchedBy(operation: Placed): readonly string[] {
  return operation.kind === 'write'
    ? versionedKeysOf(operation)
    : operation.values.map(([key]) => key);
}
