import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { UnknownStorageFormat } from '../../functions/platform/storage-form.ts';
import {
  type Proof,
  remote,
  rpcVersion,
  serveCall,
  UnfitVersion,
} from '../../shared/contracts/rpc.ts';
import type { Subscription } from '../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../shared/limits.ts';
import { LifeUnderTest } from './life.ts';
import { requestOf } from './requests.ts';
import { MemoryStorage } from './sqlite.ts';
import { writeOf } from './stored.ts';

function subscriptionOf(endpoint: string): Subscription {
  return {
    endpoint,
    url: `https://${endpoint.replace('_', '-')}.example.com/hook`,
    events: ['write.committed'],
    prefixes: [],
    values: false,
    description: '',
    createdAt: 1,
    owner: null,
    disabled: null,
  };
}

/** One method that answers 1, and a storage that counts its writes. */
function counting(proof: Proof, writes: number) {
  const storage = {
    writesBegun: 0,
    proofs: 0,
    prove() {
      this.writesBegun += 1;
      this.proofs += 1;
    },
  };
  const run = async () => {
    storage.writesBegun += writes;
    return 1;
  };
  const target = { call: serveCall.bind(null, { run: { proof, run } }, storage) };
  return { storage, target, methods: remote<{ run(): Promise<number> }>(() => target) };
}

describe('an object that is called', () => {
  it('adds a proof of ownership to an answer only if no storage write of the call gives one', async () => {
    const unproven = counting('stored', 0);
    await expect(unproven.methods.run()).resolves.toBe(1);
    expect(unproven.storage.proofs).toBe(1);
    const proven = counting('stored', 1);
    await proven.methods.run();
    expect(proven.storage.proofs).toBe(0);
    for (const proof of ['core', { none: 'it shows nothing' }] as const) {
      const other = counting(proof, 0);
      await other.methods.run();
      expect(other.storage.proofs).toBe(0);
    }
  });

  it('refuses an unknown version or method, without doing anything', async () => {
    const { target, storage, methods } = counting('stored', 1);
    for (const version of [rpcVersion + 1, 0, 1, Number.NaN]) {
      await expect(target.call({ version, method: 'run', values: [] })).resolves.toMatchObject({
        kind: 'unfit',
      });
    }
    const unknown = target.call({ version: rpcVersion, method: 'toString', values: [] });
    await expect(unknown).resolves.toMatchObject({ kind: 'unfit' });
    expect(storage.writesBegun).toBe(0);
    await expect(remote<{ other(): Promise<void> }>(() => target).other()).rejects.toThrow(
      UnfitVersion,
    );
    await expect(methods.run()).resolves.toBe(1);
  });

  it('offers only call, besides the methods that the platform calls', () => {
    const files = ['coordinator/object.ts', 'courier/object.ts', 'registry/object.ts'];
    for (const file of files) {
      const source = readFileSync(`functions/${file}`, 'utf8');
      const methods = [...source.matchAll(/^ {2}(?:override )?(?:async )?(\w+)\(/gm)];
      const names = methods.map(([, name]) => name).filter((name) => name !== 'constructor');
      expect(names).toEqual(file.startsWith('registry/') ? ['call'] : ['call', 'alarm']);
    }
  });
});

describe('a coordinator', () => {
  const started = () => {
    const memory = new MemoryStorage();
    const life = new LifeUnderTest(memory);
    const begun = () => life.life.storage.writesBegun;
    return { ...life, begun };
  };

  it('adds a proof of ownership to each answer about subscriptions, also one that changes nothing', async () => {
    const { methods, begun } = started();
    const asks: readonly (() => Promise<unknown>)[] = [
      () => methods.changeSubscription('wh_none', { values: true }),
      () => methods.recover('wh_none', 0),
      () => methods.unsubscribe('wh_none'),
      () => methods.subscriptions(),
      () => methods.signingKey(),
      () => methods.signingKey(),
      () => methods.disabled('cb_none', 'it is gone'),
    ];
    for (const ask of asks) {
      const writes = begun();
      await ask();
      expect(begun()).toBeGreaterThan(writes);
    }
    for (let number = 0; number < limits.subscriptions; number += 1) {
      await methods.subscribe(subscriptionOf(`wh_${number}`));
    }
    const writes = begun();
    const more = await methods.subscribe(subscriptionOf('wh_more'));
    expect(more.kind).toBe('full');
    expect(begun()).toBeGreaterThan(writes);
  });

  it('refuses a storage of a later release, and leaves it unchanged', () => {
    const memory = new MemoryStorage();
    void new LifeUnderTest(memory);
    const rows = () => memory.sql.exec('SELECT name, value FROM meta').toArray();
    memory.sql.exec("UPDATE meta SET value = 99 WHERE name = 'format'");
    const stored = rows();
    expect(() => new LifeUnderTest(memory)).toThrow(UnknownStorageFormat);
    expect(rows()).toEqual(stored);
  });

  it('adds a proof of ownership to each answer about the shard and its scripts', async () => {
    const { methods, begun } = started();
    const sha = 'e0e1f9fabfc9d4800c877a703b823ac0578ff8db';
    const asks: readonly (() => Promise<unknown>)[] = [
      () => methods.status('0-none'),
      () => methods.resolve([[0, 1]]),
      () => methods.regions(),
      () => methods.history(null, 1),
      () => methods.inDoubt(),
      () => methods.lastWrites(['k']),
      () => methods.changes({ since: 0, limit: 1, prefixes: [], values: false, members: false }),
      () => methods.follow(),
      () => methods.order({ kind: 'add', region: 'gamma' }, null),
      () => methods.scriptTexts([sha]),
      () => methods.scriptsKnown([sha]),
      () => methods.keepScripts([], false),
      () => methods.flushScripts(),
    ];
    for (const ask of asks) {
      const writes = begun();
      await ask();
      expect(begun()).toBeGreaterThan(writes);
    }
  });
});

describe('a keyed write', () => {
  const key = { key: 'client::order 7', digest: 'd' };
  const evalsha = ['EVALSHA', 'a'.repeat(40), '0'];

  function recorded() {
    const life = new LifeUnderTest(new MemoryStorage());
    const write = writeOf(1, 1);
    const record = { ...write.record, keptUntil: Number.MAX_SAFE_INTEGER };
    const writes = [{ ...write, record, idempotency: key }];
    const transaction = [1, 1] as const;
    const { keys } = write;
    life.life.storage.write([
      { kind: 'commit', transaction, keys, writes, sequence: 1, now: 1, missedBy: [] },
    ]);
    return life;
  }

  it('gets its first answer though its script is gone, its time is over, and its commands are refused', async () => {
    const { methods } = recorded();
    for (const ops of [[evalsha], [['KEYS', '*']], []]) {
      const request = { ...requestOf('0-other', ...ops), idempotency: key, notAfter: 1 };
      const answer = await methods.write(request);
      expect(answer).toMatchObject({ kind: 'decided', replayed: true, record: { id: '0-1' } });
      await expect(methods.writeAll([request, request])).resolves.toEqual([answer, answer]);
    }
    const fresh = await methods.write(requestOf('0-other', evalsha));
    expect(fresh).toMatchObject({ kind: 'refused', error: expect.stringContaining('NOSCRIPT') });
  });

  it('is recalled without its commands, and an unknown one is not', async () => {
    const { methods } = recorded();
    const asked = { id: '0-2', ack: 'committed', timeoutMs: 1_000, notAfter: null } as const;
    const recall = (idempotency: typeof key) => ({ ...asked, again: false as const, idempotency });
    const answers = await methods.recall([
      recall(key),
      recall({ ...key, key: 'other::order 7' }),
      recall({ ...key, digest: 'e' }),
    ]);
    expect(answers).toMatchObject([
      { kind: 'decided', record: { id: '0-1' } },
      null,
      { kind: 'key-reused', id: '0-1' },
    ]);
  });

  it('that comes again under its own id is answered from its record', async () => {
    const { methods } = recorded();
    const again = { ...requestOf('0-1', ['SET', 'k', 'v']), again: true };
    const answer = await methods.write(again);
    expect(answer).toMatchObject({ kind: 'decided', replayed: false, record: { id: '0-1' } });
  });
});
