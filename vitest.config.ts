import { defineConfig } from 'vitest/config';

/** Imports Lua as text, as wrangler's Text rule does. */
const luaAsText = {
  name: 'lua-as-text',
  transform: (code: string, id: string) =>
    id.endsWith('.lua') ? { code: `export default ${JSON.stringify(code)}`, map: null } : null,
};

export default defineConfig({
  plugins: [luaAsText],
  test: {
    include: ['test/**/*.test.ts'],
    // One generous bound for all: a test must not fail because the machine is slow, only because it hangs.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    teardownTimeout: 300_000,
    // Half of the suite waits for servers: a core must not idle meanwhile.
    maxWorkers: '100%',
    expect: { poll: { timeout: 120_000 } },
  },
});
