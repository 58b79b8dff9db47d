/** Compares the list of commands that take memory with a server's flags. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { commandTable } from '../../../shared/commands/table.ts';
import { growingCommands, growingOfGroups } from '../../../shared/contracts/growing.ts';
import { startRedisServer, type TestServer } from '../servers.ts';

let server: TestServer;

beforeAll(async () => {
  server = await startRedisServer();
});
afterAll(() => server.stop());

/** The flags of commands, by their names in upper case. */
async function flagsOf(names: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = (await server.redis.call('COMMAND', 'INFO', ...names)) as readonly [
    string,
    number,
    readonly string[],
  ][];
  return new Map(found.map((each, at) => [names[at] ?? '', each === null ? [] : each[2]]));
}

describe('the commands that a server without memory refuses', () => {
  it('are those that a real server flags with denyoom', async () => {
    const rows = commandTable.filter((row) => row.class === 'write' && row.subcommands === null);
    const names = rows.map(({ name }) => name).filter((name) => !name.startsWith('JSON.'));
    const flags = await flagsOf(names);
    const denied = names.filter((name) => flags.get(name)?.includes('denyoom'));
    const listed = names.filter((name) => growingCommands.has(name));
    expect(listed.sort()).toEqual(denied.sort());
  });

  it('are the same for subcommands', async () => {
    const groups = commandTable.find(({ name }) => name === 'XGROUP');
    const subcommands = Object.keys(
      (groups && 'subcommands' in groups && groups.subcommands) || {},
    );
    const names = subcommands.map((name) => `XGROUP|${name}`);
    const flags = await flagsOf(names);
    const denied = subcommands.filter((name) => flags.get(`XGROUP|${name}`)?.includes('denyoom'));
    expect([...growingOfGroups].sort()).toEqual(denied.sort());
  });
});
