/** Executes the subcommands of SCRIPT: LOAD, EXISTS and FLUSH. */
import { uncalled } from '../../../shared/commands/lua-text.ts';
import type { UserScript } from '../../../shared/commands/user-scripts.ts';
import { utf8Length } from '../../../shared/contracts/bytes.ts';
import { limits } from '../../../shared/limits.ts';
import type { UpstashElement } from '../../../shared/upstash/replies.ts';
import type { ScriptOrder } from '../../../shared/upstash/script-commands.ts';
import { callEach } from '../http/shards.ts';
import { failed, type UpstashRun } from './request.ts';

type OrderOf<Kind> = Extract<ScriptOrder, { kind: Kind }>;

const storeIsFull = `ERR the script store is full: SCRIPT LOAD keeps ${limits.scriptsKept} scripts and ${limits.scriptBytesKept} bytes of text until SCRIPT FLUSH`;

/** Executes orders of one kind, and returns an element per order. */
export async function runOrders(
  run: UpstashRun,
  orders: readonly ScriptOrder[],
): Promise<readonly UpstashElement[]> {
  const isLoad = (order: ScriptOrder) => order.kind === 'load';
  const isExists = (order: ScriptOrder) => order.kind === 'exists';
  if (orders.every(isLoad)) return loadAll(run, orders);
  if (orders.every(isExists)) return existAll(run, orders);
  return flush(run, orders.length);
}

/**
 * Redis stores a script if it compiles. Only a region can compile it, so one does, without running it.
 */
async function loadAll(
  run: UpstashRun,
  orders: readonly OrderOf<'load'>[],
): Promise<readonly UpstashElement[]> {
  const scripts = orders.map(({ text }) => run.scripts.read(text));
  const elements: UpstashElement[] = [];
  for (const batch of batchesOf(scripts, ({ text }) => utf8Length(text))) {
    const refusals = await compileAll(run, batch);
    const compiled = batch.filter((_, index) => refusals[index] === null);
    const kept = compiled.length === 0 ? [] : await keepAll(run, compiled);
    let next = 0;
    for (const refusal of refusals) {
      const element = refusal ??
        kept[next] ?? { error: 'ERR the script was not stored', status: 503 };
      if (refusal === null) next += 1;
      elements.push(element);
    }
  }
  return elements;
}

/** Per script, the error of compiling it, or null. */
async function compileAll(
  { reader, target }: UpstashRun,
  scripts: readonly UserScript[],
): Promise<readonly (UpstashElement | null)[]> {
  const commands = scripts.map(({ sha, text, fault }) => ({
    args: ['EVAL_RO', sha, fault === null ? uncalled(text) : '', '0'],
    reads: [],
    reply: null,
  }));
  // No key is read, so any region that answers will do.
  const asked = { ...target, consistency: 'local', keys: [], commands } as const;
  const snapshot = await reader.read(asked);
  return scripts.map(({ fault }, index) => {
    if (fault !== null) return { error: `ERR ${fault.detail}`, status: 400 };
    if (!snapshot.ok) return failed(snapshot.problem);
    const reply = snapshot.value.replies[index];
    return reply?.ok === false ? { error: reply.error, status: 400 } : null;
  });
}

async function keepAll(
  run: UpstashRun,
  scripts: readonly UserScript[],
): Promise<readonly UpstashElement[]> {
  const texts = scripts.map(({ text }) => text);
  const kept = await callEach(run.dependencies, 'keepScripts', texts, true);
  return scripts.map((script, index) => {
    if (!kept.ok) return failed(kept.problem);
    if (kept.value.some((answers) => answers[index] !== 'kept'))
      return { error: storeIsFull, status: 400 };
    run.scripts.confirmed(script);
    return { reply: script.sha, isNullArray: false };
  });
}

async function existAll(
  { dependencies, scripts }: UpstashRun,
  orders: readonly OrderOf<'exists'>[],
): Promise<readonly UpstashElement[]> {
  const shas = [...new Set(orders.flatMap((order) => order.shas.filter((sha) => sha !== null)))];
  await scripts.confirm(shas);
  const known = await callEach(dependencies, 'scriptsKnown', shas);
  return orders.map((order) => {
    if (!known.ok) return failed(known.problem);
    const isKnown = (sha: string | null) =>
      sha !== null && known.value.every((answers) => answers[shas.indexOf(sha)] === true);
    return { reply: order.shas.map((sha) => (isKnown(sha) ? 1 : 0)), isNullArray: false };
  });
}

async function flush(
  { dependencies, scripts }: UpstashRun,
  count: number,
): Promise<readonly UpstashElement[]> {
  const flushed = await callEach(dependencies, 'flushScripts');
  scripts.forgetAll();
  const element: UpstashElement = flushed.ok
    ? { reply: { status: 'OK' }, isNullArray: false }
    : failed(flushed.problem);
  return Array.from({ length: count }, () => element);
}

/** Splits items, in order, into batches within the bound for the scripts of one write. */
export function batchesOf<Item>(
  items: readonly Item[],
  bytesOf: (item: Item) => number,
): readonly (readonly Item[])[] {
  const batches: Item[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const item of items) {
    const own = bytesOf(item);
    if (bytes + own > limits.scriptBytesPerWrite) {
      batches.push([]);
      bytes = 0;
    }
    bytes += own;
    batches.at(-1)?.push(item);
  }
  return batches;
}
