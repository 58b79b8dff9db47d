/** Tests the text of a region's state: the scripts read and write it as test/support/region-state.ts does, byte for byte. */
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import baseText from '../../functions/region/lua/base.lua';
import stateText from '../../functions/region/lua/region-state.lua';
import storeText from '../../functions/region/lua/region-store.lua';
import { assert } from '../../shared/assert.ts';
import {
  emptyState,
  type KeptState,
  lockKey,
  readLocks,
  readState,
  stateKey,
  writeState,
} from '../support/region-state.ts';
import { runCountOf } from './oracle/run-count.ts';
import { servers, type TestServer } from './servers.ts';

/** Reads the state, drops the locks of the first ARGV[1] keys behind it, adds the locks of the rest, and writes it. */
const script = `${baseText}\n${stateText}\n${storeText}
local region, count = readRegion(), tonumber(ARGV[1])
local dropped, added = {}, {}
for index = 2, 1 + count do insert(dropped, ARGV[index]) end
for index = 2 + count, #ARGV do insert(added, ARGV[index]) end
local keys = {}
for index = 1, #added, 2 do insert(keys, added[index]) end
readLocks(region, dropped)
readLocks(region, keys)
dropLocks(region, dropped)
if #added > 0 then addLocks(region, added) end
writeRegion(region)
return 1`;

/** Texts of any bytes, one character each; some look like parts of a state. */
const bytes = fc.oneof(
  fc
    .array(fc.integer({ min: 0, max: 255 }), { maxLength: 12 })
    .map((codes) => String.fromCharCode(...codes)),
  fc.constantFrom(
    '',
    '|',
    ',',
    ' ',
    '0 0 ',
    '5 3 key',
    '3 1 0 0 0.0 0 0 0  1 0|,',
    ',1:m,',
    '1.1-3,',
    '\0',
    'x'.repeat(3_000),
  ),
);
const number = fc.oneof(fc.integer({ min: 0, max: 9 }), fc.constantFrom(2 ** 31, 2 ** 53 - 1));
const holder = fc.tuple(number, number).map((order) => order.join('.'));
const record = fc.tuple(holder, bytes).map(([id, intent]) => `${id}|${intent}`);
const locks = fc
  .uniqueArray(fc.tuple(bytes, record), { maxLength: 8, selector: ([key]) => key })
  .map((items) => new Map(items));

/** The length of all locks that the state may have. */
const nearBytes = 8_192;

const sizeOf = (items: Iterable<readonly [string, string]>) =>
  [...items].reduce((sum, [key, text]) => sum + key.length + text.length, 0);

const states: fc.Arbitrary<KeptState> = fc
  .record({
    generation: number,
    epoch: number,
    incarnation: number,
    lowWatermark: holder,
    counter: number,
    copyNumber: number,
    phase: fc.constantFrom('', 'token', '3', '|', '1|,', 'x:y'),
    history: fc.constantFrom(',', ',1:m,', ',8:a.0123,9:b,'),
    settled: fc.constantFrom('', '1.1-3,', '1.1-3,2.1-1,9.9007199254740991-9007199254740991,'),
    locks: locks.filter((each) => sizeOf(each) <= nearBytes),
  })
  .map((given) => ({ ...emptyState, ...given }));

const textOf = (text: string) => Buffer.from(text, 'latin1');

describe.each(servers)('the text of a state in %s', (name, start) => {
  let server: TestServer;
  beforeAll(async () => {
    server = await start();
  });
  beforeEach(() => server.redis.flushall());
  afterAll(() => server.stop());

  async function run(
    dropped: readonly string[],
    added: Iterable<readonly [string, string]>,
  ): Promise<void> {
    const own = [stateKey, lockKey, 'lockstep:0:lease'];
    const argv = [String(dropped.length), ...dropped, ...[...added].flat()].map(textOf);
    await server.redis.callBuffer('EVAL', script, '3', ...own, ...argv);
  }

  const runs = runCountOf(name === 'redis-server' ? 300 : 20);

  it('is read and written without a change', async () => {
    await fc.assert(
      fc.asyncProperty(states, async (state) => {
        await server.redis.flushall();
        await writeState(server.redis, state);
        await run([], []);
        expect(await readState(server.redis)).toEqual(state);
      }),
      runs,
    );
  });

  it('has the locks of as many transactions as have room in it, and the others stand apart', async () => {
    const steps = fc.array(fc.tuple(fc.array(fc.nat(20), { maxLength: 3 }), locks), {
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(states, steps, async (state, made) => {
        await server.redis.flushall();
        await writeState(server.redis, state);
        const near = new Map(state.locks);
        const far = new Map<string, string>();
        for (const [places, given] of made) {
          const known = [...near.keys(), ...far.keys()];
          const dropped = [...new Set(places)].flatMap((place) => known.slice(place, place + 1));
          for (const key of dropped) {
            near.delete(key);
            far.delete(key);
          }
          const added = [...given].filter(([key]) => !near.has(key) && !far.has(key));
          await run(dropped, added);
          const isNear = sizeOf(near) + sizeOf(added) <= nearBytes;
          for (const [key, text] of added) (isNear ? near : far).set(key, text);
          const found = await readState(server.redis);
          assert(found !== null, 'the state has just been written');
          expect({ ...found, hasFarLocks: false }).toEqual({ ...state, locks: found.locks });
          expect(new Map([...found.locks].sort())).toEqual(new Map([...near].sort()));
          expect(await readLocks(server.redis)).toEqual(new Map([...near, ...far]));
          if (far.size > 0) expect(found.hasFarLocks).toBe(true);
        }
      }),
      runs,
    );
  });

  it.each([-1, 0, 1])(
    'has locks of the maximum length and %d bytes if that is not too long',
    async (more) => {
      await writeState(server.redis, emptyState);
      const text = `1.1|s||${'v'.repeat(nearBytes - 'key1.1|s||'.length + more)}`;
      await run([], [['key', text]]);
      expect(await server.redis.exists(lockKey)).toBe(more > 0 ? 1 : 0);
      expect(await readLocks(server.redis)).toEqual(new Map([['key', text]]));
      await run(['key'], [['other', '1.2|k']]);
      expect(await readLocks(server.redis)).toEqual(new Map([['other', '1.2|k']]));
      await run([], []);
      expect((await readState(server.redis))?.hasFarLocks).toBe(false);
    },
  );
});
