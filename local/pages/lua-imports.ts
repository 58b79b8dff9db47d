/** Lets Node import Lua as text, as wrangler's Text rule does. Modules that need it must be imported after this one. */
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';

registerHooks({
  load(url, context, next) {
    if (!url.endsWith('.lua')) return next(url, context);
    const text = readFileSync(fileURLToPath(url), 'utf8');
    const source = `export default ${JSON.stringify(text)}`;
    return { format: 'module', source, shortCircuit: true };
  },
});
