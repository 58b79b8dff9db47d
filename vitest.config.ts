import { defineConfig } from 'vitest/config';

/** Imports Lua as text, as wrangler's Text rule does. */
const luaAsText = {
  name: 'lua-as-text',
  transform: (code: string, id: string) =>
    id.endsWith('.lua') ? { code: `export default ${JSON.stringify(code)}`, map: null } : null,
};

export default defineConfig({
  plugins: [luaAsText],
  test: { include: ['test/**/*.test.ts'] },
});
