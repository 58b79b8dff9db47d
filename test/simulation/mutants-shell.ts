import type { Mutant } from './mutants.ts';

/** R10, R20, R25, R28, R29 and R44: sending, reading, those who hook in, and rest. */

const schedule = 'shared/protocol/regions/schedule.ts';
const coordinator = 'shared/protocol/coordinator.ts';
const look = 'functions/edge/reads/snapshot-read.ts';
const gatherer = 'functions/edge/cache/gatherer.ts';

export const shellMutants: readonly Mutant[] = [
  {
    rule: 'R10',
    name: 'resends-a-round',
    patches: [
      {
        file: 'functions/region/rest-client.ts',
        find: "const body = await post('/', command, timeoutMs);",
        replace: `const first = await post('/', command, timeoutMs);
      const body = first.kind === 'silent' ? await post('/', command, timeoutMs) : first;`,
      },
    ],
    runner: 'client',
    seeds: [1, 20],
  },
  {
    rule: 'R20',
    name: 'exceeds-its-connections',
    patches: [{ file: schedule, find: 'if (free <= 0) return null;', replace: '' }],
    runner: 'pace',
    seeds: [1, 20],
  },
  {
    rule: 'R20',
    name: 'sends-commits-alone-at-once',
    patches: [
      { file: schedule, find: '(leavesAlone || now >= link.lingerUntil)', replace: 'true' },
    ],
    runner: 'pace',
    seeds: [1, 50],
  },
  {
    rule: 'R20',
    name: 'serves-the-nearest-first',
    patches: [
      {
        file: schedule,
        find: 'b.distanceMs - a.distanceMs',
        replace: 'a.distanceMs - b.distanceMs',
      },
    ],
    runner: 'pace',
    seeds: [1, 20],
  },
  {
    rule: 'R20',
    name: 'lets-prepares-go-first-for-ever',
    patches: [{ file: schedule, find: 'now - since >= limits.fairAfterMs', replace: 'since < 0' }],
    runner: 'saturation',
    seeds: [1, 20],
  },
  {
    rule: 'R25',
    name: 'reads-past-locks',
    patches: [
      {
        file: 'test/region/model.ts',
        find: 'locks: strong ? this.#shardOf(shard).locksMet(keys) : []',
        replace: 'locks: []',
      },
    ],
    runner: 'simulation',
    seeds: [1, 100],
  },
  {
    rule: 'R25',
    name: 'answers-before-it-has-applied',
    patches: [
      {
        file: 'test/simulation/reading.ts',
        find: 'else if (settle.length === 0) answer();',
        replace: 'else if (settle !== null) answer();',
      },
    ],
    runner: 'simulation',
    seeds: [1, 100],
  },
  {
    rule: 'R25',
    name: 'edge-joins-a-sent-snapshot',
    patches: [
      {
        file: gatherer,
        find: 'if (this.#open.get(destination) === gathering) this.#open.delete(destination);',
        replace: '',
      },
      {
        file: gatherer,
        find: '    sent.isOver = true;\n',
        replace: '    sent.isOver = true;\n    this.#open.delete(destination);\n',
      },
      // Without this way, also a read that began a snapshot alone shares it with those that join.
      {
        file: 'functions/edge/reads/shared-snapshots.ts',
        find: 'if (members.length === 1 && only !== undefined) return only.give(await take(only.item));',
        replace: '',
      },
    ],
    runner: 'shared',
    seeds: [1, 120],
  },
  {
    rule: 'R25',
    name: 'edge-answers-before-it-has-applied',
    patches: [
      {
        file: look,
        find: 'if (settle.length === 0) return this.#answered(result, attempts);',
        replace: 'if (settle !== null) return this.#answered(result, attempts);',
      },
    ],
    runner: 'edge',
    seeds: [1, 120],
  },
  {
    rule: 'R25',
    name: 'edge-asks-for-no-lease',
    patches: [{ file: look, find: 'leased: strong,', replace: 'leased: false,' }],
    runner: 'edge',
    seeds: [1, 60],
  },
  {
    rule: 'R28',
    name: 'queues-no-event-with-the-decision',
    patches: [
      {
        file: 'shared/protocol/handlers/transaction-manager.ts',
        find: 'ready.queueEvents(eventRouter.decided(write), write.callback);',
        replace: 'eventRouter.decided(write);',
      },
    ],
    runner: 'simulation',
    seeds: [1, 20],
  },
  {
    rule: 'R28',
    name: 'queues-no-event-with-the-confirmation',
    patches: [
      {
        file: 'shared/protocol/transactions/pending-confirmations.ts',
        find: 'this.#ready.queueEvents(this.#eventRouter.confirmed(write, now, regions), write.callback);',
        replace: 'this.#eventRouter.confirmed(write, now, regions);',
      },
    ],
    runner: 'simulation',
    seeds: [1, 20],
  },
  {
    rule: 'R28',
    name: 'queues-no-event-when-it-gives-up',
    patches: [
      {
        file: 'shared/protocol/transactions/pending-writes.ts',
        find: 'this.#ready.queueEvents(events, write.frame.callback);',
        replace: '',
      },
    ],
    runner: 'simulation',
    seeds: [1, 20],
  },
  {
    rule: 'R29',
    name: 'overlooks-gaps-in-published-changes',
    patches: [
      {
        file: 'shared/protocol/feed/feed-window.ts',
        find: 'if (change.sequence > this.#head + 1) this.#empty();',
        replace: '',
      },
    ],
    runner: 'feed',
    seeds: [1, 100],
  },
  {
    rule: 'R29',
    name: 'treats-repeated-changes-as-new',
    patches: [
      {
        file: 'shared/protocol/feed/feed-window.ts',
        find: 'if (change.sequence <= this.#head) continue;',
        replace: '',
      },
    ],
    runner: 'feed',
    seeds: [1, 50],
  },
  {
    rule: 'R29',
    name: 'requests-no-page',
    patches: [
      {
        file: 'shared/protocol/feed/feed.ts',
        find: 'if (!isBehind || pausedBeats',
        replace: 'if (isBehind || pausedBeats',
      },
    ],
    runner: 'feed',
    seeds: [1, 10],
  },
  {
    rule: 'R44',
    name: 'stays-idle-while-it-prepares',
    patches: [
      {
        file: coordinator,
        find: 'stirs: hasChanged || this.#ready.sendsPrepares',
        replace: 'stirs: hasChanged',
      },
    ],
    runner: 'idle',
    seeds: [1, 100],
  },
  {
    rule: 'R44',
    name: 'becomes-idle-while-locks-are-left',
    patches: [
      {
        file: coordinator,
        find: 'hasMembers && !this.busy && this.#links.areCalm',
        replace: 'hasMembers && this.#pendingWrites.pendingCount === 0',
      },
    ],
    runner: 'idle',
    seeds: [1, 200],
  },
  {
    rule: 'R44',
    name: 'asks-every-region-after-each-restart',
    patches: [
      {
        file: 'shared/protocol/regions/region-links.ts',
        find: 'if (stored.isResting) for',
        replace: 'if (stored.isResting && ready.now < 0) for',
      },
    ],
    runner: 'idle',
    seeds: [1, 20],
  },
];
