import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';

// Node imports Lua as text from here on, as wrangler's Text rule does. What needs it is imported after this module ran.
registerHooks({
  load(url, context, next) {
    if (!url.endsWith('.lua')) return next(url, context);
    const text = readFileSync(fileURLToPath(url), 'utf8');
    const source = `export default ${JSON.stringify(text)}`;
    return { format: 'module', source, shortCircuit: true };
  },
});
