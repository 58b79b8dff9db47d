import { describe, expect, test } from 'vitest';
import { type Noted, RegionRegistry } from '../../functions/coordinator/region-registry.ts';
import type { RegionConfiguration } from '../../shared/contracts/members.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import { limits } from '../../shared/limits.ts';
import { MemoryStorage } from './sqlite.ts';
import { begun } from './stored.ts';

function addressOf(id: string, url = `https://${id}.example.com`): RegionConfiguration {
  return { id, url, token: `token of ${id}`, location: [0, 0] };
}

/** A client whose reason names its own URL. */
function connect({ url }: RegionConfiguration): RegionClient {
  const silent = { kind: 'silent', reason: url } as const;
  return {
    round: async () => silent,
    joint: async () => silent,
    jointSnapshot: async () => silent,
    snapshot: async () => silent,
    inspect: async () => silent,
    run: async () => silent,
  };
}

/** A shard with the configured regions `alpha` and `beta`. */
class RegistryHarness {
  readonly memory = new MemoryStorage();
  registry = this.begin();

  /** A new instance on the stored state. */
  begin(configured = ['alpha', 'beta']): RegionRegistry {
    const { members } = begun(this.memory).storage;
    this.registry = new RegionRegistry(
      configured.map((id) => addressOf(id)),
      members,
      connect,
    );
    return this.registry;
  }

  add(address: RegionConfiguration, members: readonly string[] = []): Noted {
    return this.registry.note({ kind: 'add', region: address.id }, address, members);
  }

  remove(region: string): Noted {
    return this.registry.note({ kind: 'remove', region }, null, ['alpha', 'beta']);
  }

  get ids(): readonly string[] {
    return this.registry.all.map(({ id }) => id);
  }

  /** The URL to which the client of a region leads; null if there is none. */
  async leadsTo(region: string): Promise<string | null> {
    const result = await this.registry.clientOf(region)?.run([], 1);
    return result?.kind === 'silent' ? result.reason : null;
  }
}

function undo(noted: Noted): void {
  if (noted.kind === 'refused') throw new Error(noted.detail);
  noted.undo();
}

const it = test.extend('harness', () => new RegistryHarness());

describe('a region that is added', () => {
  it('has a client at once, and is still there after a restart', async ({ harness }) => {
    expect(harness.add(addressOf('gamma')).kind).toBe('noted');
    expect(await harness.leadsTo('gamma')).toBe('https://gamma.example.com');
    harness.begin();
    expect(harness.registry.all).toEqual(['alpha', 'beta', 'gamma'].map((id) => addressOf(id)));
    expect(await harness.leadsTo('gamma')).toBe('https://gamma.example.com');
  });

  it('is unknown again if the core refuses it', async ({ harness }) => {
    undo(harness.add(addressOf('gamma')));
    expect(harness.ids).toEqual(['alpha', 'beta']);
    expect(await harness.leadsTo('gamma')).toBeNull();
    harness.begin();
    expect(harness.ids).toEqual(['alpha', 'beta']);
  });

  it('is refused while a region of its name exists, or has not left yet', ({ harness }) => {
    expect(harness.add(addressOf('alpha', 'https://new.example.com')).kind).toBe('refused');
    harness.remove('beta');
    expect(harness.add(addressOf('beta'), ['alpha', 'beta']).kind).toBe('refused');
    expect(harness.add(addressOf('beta'), ['alpha']).kind).toBe('noted');
  });

  it('is refused without its own address, and with the database of another region', ({
    harness,
  }) => {
    const order = { kind: 'add', region: 'gamma' } as const;
    expect(harness.registry.note(order, null, []).kind).toBe('refused');
    expect(harness.registry.note(order, addressOf('delta'), []).kind).toBe('refused');
    expect(harness.add(addressOf('gamma', 'https://alpha.example.com')).kind).toBe('refused');
    expect(harness.ids).toEqual(['alpha', 'beta']);
  });

  it('is refused beyond the limit, which counts regions that are leaving', ({ harness }) => {
    for (let count = 2; count < limits.regions - 1; count += 1) {
      expect(harness.add(addressOf(`added-${count}`)).kind).toBe('noted');
    }
    expect(harness.add(addressOf('last'), ['leaving']).kind).toBe('refused');
    expect(harness.add(addressOf('last')).kind).toBe('noted');
    expect(harness.add(addressOf('one-more')).kind).toBe('refused');
    expect(harness.ids).toHaveLength(limits.regions);
  });
});

describe('a region that is removed', () => {
  it('stays removed after a restart, even if it is configured, until it is added again', async ({
    harness,
  }) => {
    harness.remove('beta');
    expect(harness.ids).toEqual(['alpha']);
    harness.begin();
    expect(harness.ids).toEqual(['alpha']);
    expect(await harness.leadsTo('beta')).toBeNull();
    harness.add(addressOf('beta', 'https://new.example.com'));
    harness.begin();
    expect(harness.ids).toEqual(['alpha', 'beta']);
    expect(await harness.leadsTo('beta')).toBe('https://new.example.com');
  });

  it('can end its rounds in the instance that removed it', async ({ harness }) => {
    harness.remove('beta');
    expect(await harness.leadsTo('beta')).toBe('https://beta.example.com');
  });

  it('stays if the core refuses the removal', ({ harness }) => {
    harness.add(addressOf('gamma'));
    undo(harness.remove('beta'));
    undo(harness.remove('gamma'));
    harness.begin();
    expect(harness.ids).toEqual(['alpha', 'beta', 'gamma']);
  });

  it('leaves no trace if it had been added', ({ harness }) => {
    harness.add(addressOf('gamma'));
    harness.remove('gamma');
    expect(harness.ids).toEqual(['alpha', 'beta']);
    harness.begin(['alpha', 'gamma']);
    expect(harness.ids).toEqual(['alpha', 'gamma']);
  });
});

describe('another admin command', () => {
  it('is left to the core', ({ harness }) => {
    const noted = harness.registry.note({ kind: 'believe', region: 'alpha' }, null, ['alpha']);
    undo(noted);
    expect(harness.ids).toEqual(['alpha', 'beta']);
  });
});
