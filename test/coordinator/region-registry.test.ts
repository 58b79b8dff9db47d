import { beforeEach, describe, expect, it } from 'vitest';
import { type Noted, RegionRegistry } from '../../functions/coordinator/region-registry.ts';
import type { RegionConfiguration } from '../../shared/contracts/members.ts';
import type { RegionClient } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { MemoryStorage } from './sqlite.ts';
import { begun } from './stored.ts';

function addressOf(id: string, url = `https://${id}.example.com`): RegionConfiguration {
  return { id, url, token: `token of ${id}`, location: [0, 0] };
}

/** A client that tells, in its reason, where it leads. */
function connect({ url }: RegionConfiguration): RegionClient {
  const silent = { kind: 'silent', reason: url } as const;
  return {
    round: async () => silent,
    snapshot: async () => silent,
    inspect: async () => silent,
    run: async () => silent,
  };
}

/** A shard with the configured regions `alpha` and `beta`. */
class World {
  readonly memory = new MemoryStorage();
  book = this.begin();

  /** A new life, on what is stored. */
  begin(configured = ['alpha', 'beta']): RegionRegistry {
    const { members } = begun(this.memory).storage;
    this.book = new RegionRegistry(
      configured.map((id) => addressOf(id)),
      members,
      connect,
    );
    return this.book;
  }

  add(address: RegionConfiguration, members: readonly string[] = []): Noted {
    return this.book.note({ kind: 'add', region: address.id }, address, members);
  }

  remove(region: string): Noted {
    return this.book.note({ kind: 'remove', region }, null, ['alpha', 'beta']);
  }

  get ids(): readonly string[] {
    return this.book.all.map(({ id }) => id);
  }

  /** Where the client of a region leads; null where there is none. */
  async leadsTo(region: string): Promise<string | null> {
    const result = await this.book.clientOf(region)?.run([], 1);
    return result?.kind === 'silent' ? result.reason : null;
  }
}

function undo(noted: Noted): void {
  if (noted.kind === 'refused') throw new Error(noted.detail);
  noted.undo();
}

let world = new World();

beforeEach(() => {
  world = new World();
});

describe('a region that is added', () => {
  it('has a client at once, and is there after a restart', async () => {
    expect(world.add(addressOf('gamma')).kind).toBe('noted');
    expect(await world.leadsTo('gamma')).toBe('https://gamma.example.com');
    world.begin();
    expect(world.book.all).toEqual(['alpha', 'beta', 'gamma'].map((id) => addressOf(id)));
    expect(await world.leadsTo('gamma')).toBe('https://gamma.example.com');
  });

  it('is unknown again where the core refuses it', async () => {
    undo(world.add(addressOf('gamma')));
    expect(world.ids).toEqual(['alpha', 'beta']);
    expect(await world.leadsTo('gamma')).toBeNull();
    world.begin();
    expect(world.ids).toEqual(['alpha', 'beta']);
  });

  it('is refused while one of its name is there, or has not left yet', () => {
    expect(world.add(addressOf('alpha', 'https://new.example.com')).kind).toBe('refused');
    world.remove('beta');
    expect(world.add(addressOf('beta'), ['alpha', 'beta']).kind).toBe('refused');
    expect(world.add(addressOf('beta'), ['alpha']).kind).toBe('noted');
  });

  it('is refused without its own address, and with the database of another', () => {
    const order = { kind: 'add', region: 'gamma' } as const;
    expect(world.book.note(order, null, []).kind).toBe('refused');
    expect(world.book.note(order, addressOf('delta'), []).kind).toBe('refused');
    expect(world.add(addressOf('gamma', 'https://alpha.example.com')).kind).toBe('refused');
    expect(world.ids).toEqual(['alpha', 'beta']);
  });

  it('is refused beyond the most that are allowed, those that are leaving counted', () => {
    for (let count = 2; count < limits.regions - 1; count += 1) {
      expect(world.add(addressOf(`added-${count}`)).kind).toBe('noted');
    }
    expect(world.add(addressOf('last'), ['leaving']).kind).toBe('refused');
    expect(world.add(addressOf('last')).kind).toBe('noted');
    expect(world.add(addressOf('one-more')).kind).toBe('refused');
    expect(world.ids).toHaveLength(limits.regions);
  });
});

describe('a region that is removed', () => {
  it('stays removed after a restart, though it is configured, until it is added again', async () => {
    world.remove('beta');
    expect(world.ids).toEqual(['alpha']);
    world.begin();
    expect(world.ids).toEqual(['alpha']);
    expect(await world.leadsTo('beta')).toBeNull();
    world.add(addressOf('beta', 'https://new.example.com'));
    world.begin();
    expect(world.ids).toEqual(['alpha', 'beta']);
    expect(await world.leadsTo('beta')).toBe('https://new.example.com');
  });

  it('can end its rounds in the instance that removed it', async () => {
    world.remove('beta');
    expect(await world.leadsTo('beta')).toBe('https://beta.example.com');
  });

  it('is there as before where the core refuses that', () => {
    world.add(addressOf('gamma'));
    undo(world.remove('beta'));
    undo(world.remove('gamma'));
    world.begin();
    expect(world.ids).toEqual(['alpha', 'beta', 'gamma']);
  });

  it('leaves no trace where it had been added', () => {
    world.add(addressOf('gamma'));
    world.remove('gamma');
    expect(world.ids).toEqual(['alpha', 'beta']);
    world.begin(['alpha', 'gamma']);
    expect(world.ids).toEqual(['alpha', 'gamma']);
  });
});

describe('another order', () => {
  it('is for the core alone', () => {
    const noted = world.book.note({ kind: 'believe', region: 'alpha' }, null, ['alpha']);
    undo(noted);
    expect(world.ids).toEqual(['alpha', 'beta']);
  });
});
