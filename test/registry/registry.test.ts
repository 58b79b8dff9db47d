import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { UnknownStorageFormat } from '../../functions/platform/storage-form.ts';
import { RegistryLife } from '../../functions/registry/registry.ts';
import { registryFormat } from '../../functions/registry/registry-storage.ts';
import type { RegistryApi } from '../../shared/contracts/registry.ts';
import { remote, serveCall } from '../../shared/contracts/rpc.ts';
import { initialMap } from '../../shared/shards/shard-map.ts';
import { environmentWith } from '../coordinator/life.ts';
import { MemoryStorage } from '../coordinator/sqlite.ts';

/** A life of the registry, called as other objects call it. */
function lifeOn(memory: MemoryStorage) {
  const life = new RegistryLife(memory, environmentWith({}));
  const call = serveCall.bind(null, life.served, life.storage);
  return { storage: life.storage, methods: remote<RegistryApi>(() => ({ call })) };
}

const rowsOf = (memory: MemoryStorage) =>
  memory.sql.exec('SELECT version, value FROM shard_map').toArray();

describe('the registry', () => {
  it('stores the first map once, and answers it in each life', async () => {
    const memory = new MemoryStorage();
    for (let life = 0; life < 3; life += 1) {
      const map = await lifeOn(memory).methods.map();
      expect(map).toEqual(initialMap(1));
    }
    expect(rowsOf(memory)).toEqual([{ version: 1, value: JSON.stringify(initialMap(1)) }]);
  });

  it('keeps the stored map if the configuration would make another one', async () => {
    const memory = new MemoryStorage();
    lifeOn(memory).storage.prove();
    const stored = initialMap(4);
    memory.sql.exec('UPDATE shard_map SET value = ?', JSON.stringify(stored));
    await expect(lifeOn(memory).methods.map()).resolves.toEqual(stored);
  });

  it('answers after a storage write that began after the call', async () => {
    const { storage, methods } = lifeOn(new MemoryStorage());
    const before = storage.writesBegun;
    await methods.map();
    expect(storage.writesBegun).toBe(before + 1);
    await methods.map();
    expect(storage.writesBegun).toBe(before + 2);
  });

  it('gives no answer if the proof cannot be stored', async () => {
    const memory = new MemoryStorage();
    const { methods } = lifeOn(memory);
    memory.fails = (statement) => {
      if (statement.includes("'proof'")) throw new Error('another instance owns the storage');
    };
    await expect(methods.map()).rejects.toThrow('owns the storage');
  });

  it('reads the storage of its first format', async () => {
    const memory = new MemoryStorage();
    memory.sql.exec(readFileSync('test/storage-formats/registry-1.sql', 'utf8'));
    await expect(lifeOn(memory).methods.map()).resolves.toMatchObject({
      version: 3,
      shards: [{ shard: 0 }, { shard: 2 }],
    });
    expect(registryFormat).toBe(1);
  });

  it('refuses a storage of a later release, and leaves it unchanged', () => {
    const memory = new MemoryStorage();
    lifeOn(memory);
    memory.sql.exec("UPDATE meta SET value = 99 WHERE name = 'format'");
    const rows = rowsOf(memory);
    expect(() => lifeOn(memory)).toThrow(UnknownStorageFormat);
    expect(rowsOf(memory)).toEqual(rows);
  });

  it('begins no life on a damaged map', () => {
    const memory = new MemoryStorage();
    lifeOn(memory);
    memory.sql.exec('UPDATE shard_map SET value = \'{"version":1,"shards":[]}\'');
    expect(() => lifeOn(memory)).toThrow('the stored map cannot be read');
  });
});
