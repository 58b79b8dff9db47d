/** The configuration of vitest: test files, time limits, and Lua as text. */
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
    // One generous limit for all tests: a test should fail if it hangs, but not if the machine is slow.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    teardownTimeout: 300_000,
    // Half of the tests wait for servers, so fewer workers would leave cores idle.
    maxWorkers: '100%',
    expect: { poll: { timeout: 120_000 } },
  },
});
