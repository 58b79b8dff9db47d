import { describe, expect, it } from 'vitest';
import { frameOf } from './core-harness.ts';
import { type MessageBetweenShards, ShardsHarness } from './shards-harness.ts';

/** Faults of one message of a joint write, or at the moment at which it would arrive. */
const faults: Readonly<
  Record<string, (shards: ShardsHarness, message: MessageBetweenShards) => void>
> = {
  'is lost': (_, message) => message.lose(),
  'never arrives': (_, message) => message.drop(),
  'arrives twice': (_, message) => {
    message.repeat();
    message.deliver();
  },
  'arrives late': (shards, message) => {
    shards.settle((other) => other === message);
    message.deliver();
  },
  'arrives again much later': (shards, message) => {
    message.deliver();
    shards.settle();
    shards.advance(4_000);
    message.repeat();
  },
  'finds home restarted': (shards, message) => {
    shards.restart(0);
    message.deliver();
  },
  'finds the guest restarted': (shards, message) => {
    shards.restart(1);
    message.deliver();
  },
  'finds both restarted': (shards, message) => {
    shards.restart(1);
    shards.restart(0);
    message.deliver();
  },
  'arrives before home is restarted': (shards, message) => {
    message.deliver();
    shards.restart(0);
  },
  'arrives before the guest is restarted': (shards, message) => {
    message.deliver();
    shards.restart(1);
  },
  'is lost with home': (shards, message) => {
    message.drop();
    shards.restart(0);
  },
  'is lost with the guest': (shards, message) => {
    message.drop();
    shards.restart(1);
  },
  'arrives late at lives that came after': (shards, message) => {
    shards.restart(0);
    shards.restart(1);
    shards.settle((other) => other === message);
    message.deliver();
  },
};

/** The messages of one joint write, and those that follow from it. */
const messagesMost = 24;

function writeTo(keys: readonly string[]) {
  return frameOf(keys, { notAfter: 1_600_000 });
}

/** The value of each key in each region. */
function valuesOf(shards: ShardsHarness): readonly (readonly string[])[] {
  return ['a0', 'a1'].map((key) =>
    [...shards.regions.values()].map((model) => JSON.stringify(model.run('GET', key))),
  );
}

/** Lets everything come to an end. */
function calm(shards: ShardsHarness): void {
  for (let turn = 0; turn < 6; turn += 1) {
    shards.settle();
    shards.advance(3_000);
  }
  shards.settle();
}

describe.each(Object.entries(faults))('a joint write of which a message %s', (_, strike) => {
  it('is applied whole or not at all, and leaves no lock and no loan, whichever message it is', () => {
    for (let struck = 0; struck < messagesMost; struck += 1) {
      const shards = new ShardsHarness();
      const ticket = shards.write(0, writeTo(['a0', 'a1']));
      let delivered = 0;
      for (let turn = 0; turn < 200 && delivered <= struck; turn += 1) {
        const [message] = shards.messages;
        if (message === undefined) {
          shards.advance(5);
          continue;
        }
        if (delivered === struck) strike(shards, message);
        else message.deliver();
        delivered += 1;
      }
      calm(shards);
      const [own = [], guests = []] = valuesOf(shards);
      expect(new Set(own).size, `message ${struck}: ${own}`).toBe(1);
      expect(new Set(guests).size, `message ${struck}: ${guests}`).toBe(1);
      expect(own[0] === 'null', `message ${struck}: ${own} ${guests}`).toBe(guests[0] === 'null');
      if (shards.answerTo(ticket)?.kind === 'decided') expect(own[0]).not.toBe('null');
      for (const shard of [0, 1]) {
        expect(shards.tablesOf(shard).loans.size, `message ${struck}`).toBe(0);
        for (const model of shards.regions.values()) {
          expect(model.locks(shard), `message ${struck}`).toEqual([]);
        }
      }
      const later = [shards.write(0, writeTo(['a0'])), shards.write(1, writeTo(['a1']))];
      shards.settle();
      for (const one of later) {
        expect(shards.answerTo(one)?.kind, `message ${struck}`).toBe('decided');
      }
    }
  });
});
