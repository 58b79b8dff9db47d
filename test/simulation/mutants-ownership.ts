import type { Mutant } from './mutants.ts';
import { mutant } from './mutants-members.ts';

/** R48 to R50: who owns a slot, how a shard is born, and how a request finds its shard. */

const slots = 'shared/protocol/ownership/owned-slots.ts';
const core = 'shared/protocol/coordinator.ts';
const map = 'shared/shards/shard-map.ts';

export const ownershipMutants: readonly Mutant[] = [
  mutant(
    'R48',
    'writes-keys-of-other-shards',
    'ownership',
    [1, 40],
    [
      slots,
      'if (ownership === null || this.own(keys)) return null;',
      'if (ownership === null || keys.length >= 0) return null;',
    ],
    [slots, 'return ownsEverySlot(ownership) || owns(ownership, slotsOf(keys));', 'return true;'],
  ),
  mutant(
    'R48',
    'takes-some-slots-for-all',
    'ownership',
    [1, 40],
    [map, "return slots !== 'all' && slots.every(", "return slots === 'all' || slots.every("],
  ),
  mutant(
    'R49',
    'asks-regions-before-it-knows-its-slots',
    'ownership',
    [1, 40],
    [core, 'return this.#slots.isKnown && (', 'return ('],
  ),
  mutant(
    'R49',
    'does-not-store-its-slots',
    'ownership',
    [1, 40],
    [slots, "    this.#ready.persist({ kind: 'own', ownership });\n", ''],
  ),
  mutant(
    'R49',
    'takes-every-later-map',
    'ownership',
    [1, 40],
    [slots, '    if (this.isKnown) return false;\n', ''],
  ),
  mutant(
    'R49',
    'asks-a-silent-registry-once',
    'ownership',
    [1, 40],
    [slots, '    this.#isAsked = false;\n', ''],
  ),
  mutant(
    'R50',
    'lets-writes-for-others-wait',
    'ownership',
    [1, 60],
    [
      'shared/protocol/transactions/pending-writes.ts',
      'this.queue.take(isForeign)',
      'this.queue.take(() => false)',
    ],
  ),
  mutant(
    'R50',
    'keeps-an-old-map',
    'ownership',
    [1, 40],
    [
      'functions/edge/cache/known-map.ts',
      'if (parsed.map.version >= this.#map.version) this.#map',
      'if (parsed.map.version < this.#map.version) this.#map',
    ],
  ),
  mutant(
    'R50',
    'sends-a-moved-write-under-its-old-id',
    'ownership',
    [1, 40],
    ['functions/edge/writes/send-writes.ts', '{ ...request, id: writeIdIn(shard, id) }', 'request'],
  ),
];
