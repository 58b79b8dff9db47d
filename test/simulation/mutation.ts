import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A change of one source file: the text has to stand there exactly once. */
export interface Patch {
  /** From the top of the tree. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

/** The top of the tree. */
export const treeRoot = fileURLToPath(new URL('../../', import.meta.url));

/** The source with the patch; it throws if the source has changed there. */
export function patched(source: string, { file, find, replace }: Patch): string {
  const pieces = source.split(find);
  if (pieces.length !== 2) {
    throw new Error(`${file} has ${pieces.length - 1} times, not once, the text\n${find}`);
  }
  return pieces.join(replace);
}

/**
 * From now on this process loads files with their patches, in memory, and Lua as text. Returns a function that lists
 * the files not loaded so far: a mutant of an unloaded file would prove nothing.
 */
export function loadPatched(patches: readonly Patch[]): () => readonly string[] {
  const waiting = new Set(patches.map(({ file }) => file));
  const textOf = (file: string) => {
    waiting.delete(file);
    const source = readFileSync(`${treeRoot}${file}`, 'utf8');
    return patches.filter((patch) => patch.file === file).reduce(patched, source);
  };
  registerHooks({
    load(url, context, nextLoad) {
      const file = url.startsWith('file:') ? relative(treeRoot, fileURLToPath(url)) : '';
      if (file.endsWith('.lua')) {
        const source = `export default ${JSON.stringify(textOf(file))}`;
        return { format: 'module', source, shortCircuit: true };
      }
      if (!waiting.has(file)) return nextLoad(url, context);
      return { ...nextLoad(url, context), source: textOf(file) };
    },
  });
  return () => [...waiting];
}
