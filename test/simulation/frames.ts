import { compileWrite } from '../../shared/commands/compile.ts';
import type { Check, WriteFrame } from '../../shared/contracts/frame.ts';
import type { Callback } from '../../shared/contracts/webhooks-and-feed.ts';
import { keyOfWrite } from '../../shared/reserved-keys.ts';
import type { Simulation } from './simulation.ts';

const callback: Callback = {
  endpoint: 'cb_1',
  url: 'https://example.com/',
  secret: null,
  events: ['write.committed', 'write.confirmed', 'write.aborted'],
  values: true,
};

/** The writes of clients. */
export class Frames {
  readonly #simulation: Simulation;
  #tokens = 0;

  constructor(simulation: Simulation) {
    this.#simulation = simulation;
  }

  /** An id that no frame has had. */
  nextId(): string {
    this.#tokens += 1;
    return `0-${this.#tokens}`;
  }

  /** Any frame. */
  any(): WriteFrame {
    const { random } = this.#simulation;
    const { keys, flushes, expiries } = this.#simulation.weather;
    if (flushes > 0 && random.chance(flushes)) return this.#flush();
    if (flushes > 0 && random.chance(2 * flushes)) return this.#script();
    if (expiries > 0 && random.chance(expiries)) return this.#expiring();
    if (random.chance(this.#simulation.weather.deletes))
      return this.of([['DEL', random.pick(keys)]], []);
    const token = `${this.#tokens + 1},`;
    const key = random.pick(keys);
    const other = random.pick(keys);
    const checks: Check[] = random.chance(0.25)
      ? [
          random.pick<Check>([
            { kind: 'absent', key },
            { kind: 'exists', key: other },
          ]),
        ]
      : [];
    const ops = random.pick<string[][]>([
      [['APPEND', key, token]],
      [['APPEND', key, token]],
      [
        ['APPEND', key, token],
        ['APPEND', other, token],
      ],
      [['SET', key, token]],
      [
        ['SET', key, token],
        ['APPEND', key, token],
      ],
      [['INCR', 'n']],
      [['INCR', 'n']],
      [['HSET', 'h', key, token]],
      [
        ['RPUSH', key, token],
        ['SET', other, token],
      ],
      [['DEL', key]],
      [
        ['SADD', 's', token],
        ['SMEMBERS', 's'],
      ],
      [['SPOP', 's']],
      [['SET', 'x', token, 'PX', `${random.pick([5, 100, 800, 10_000_000])}`]],
      [['APPEND', 'x', token]],
      [
        ['SET', 'x', token, 'PX', '60'],
        ['APPEND', 'x', token],
      ],
      [['PERSIST', 'x']],
      [
        ['PEXPIRE', 'x', `${random.pick([1, 70, 900])}`],
        ['GET', 'x'],
      ],
    ]);
    return this.of(ops, checks);
  }

  /** Every key is deleted, and some are written in the same step. */
  #flush(): WriteFrame {
    const { random, weather } = this.#simulation;
    const key = random.pick(weather.keys);
    const token = `${this.#tokens + 1},`;
    const ops = random.pick<string[][]>([
      [['FLUSHALL']],
      [['FLUSHALL'], ['APPEND', key, token]],
      [['APPEND', key, token], ['FLUSHDB'], ['SET', 'x', token]],
    ]);
    return this.of(ops, random.chance(0.2) ? [{ kind: 'exists', key }] : []);
  }

  /** A key gets a short expiry, and something else happens to it: in one step, or in those of others. */
  #expiring(): WriteFrame {
    const { random } = this.#simulation;
    const token = `${this.#tokens + 1},`;
    const soon = `${random.pick([1, 20, 90, 300, 900, 2_000])}`;
    const later = `${random.pick([1, 150, 1_200])}`;
    const [key, other] = random.pick([
      ['x', 'y'],
      ['y', 'x'],
    ]);
    const set = ['SET', key, token, 'PX', soon];
    const expiry = ['PTTL', key];
    const ops = random.pick<string[][]>([
      [set],
      [['SET', key, token, 'NX', 'PX', soon], ['GET', key], expiry],
      [set, ['APPEND', key, token], expiry],
      [
        ['INCR', 'w'],
        ['PEXPIRE', 'w', soon],
        ['PTTL', 'w'],
      ],
      [
        ['INCR', 'w'],
        ['PEXPIRE', 'w', soon, 'NX'],
        ['PTTL', 'w'],
      ],
      [set, ['PEXPIRE', key, later], ['GET', key], expiry],
      [set, ['PEXPIRE', key, later, random.pick(['GT', 'LT', 'NX', 'XX'])], expiry],
      [set, ['PERSIST', key], expiry],
      [['GETEX', key, 'PX', soon], expiry],
      [set, ['GETEX', key, 'PERSIST'], expiry],
      [set, ['SET', key, token, 'KEEPTTL'], expiry],
      [set, ['RENAME', key, other], ['APPEND', other, token], ['PTTL', other], ['EXISTS', key]],
      [
        ['COPY', key, other],
        ['PTTL', other],
        ['APPEND', other, token],
      ],
      [
        ['PEXPIRE', key, soon],
        ['APPEND', key, token],
        ['DEL', key],
        ['APPEND', key, token],
      ],
      [['GET', key], expiry, ['EXISTS', other]],
      [['APPEND', key, token], expiry],
    ]);
    return this.of(ops, []);
  }

  /** A script, in the language of the model, that declares some of its keys or none. */
  #script(): WriteFrame {
    const { random, weather } = this.#simulation;
    const [key, other] = [random.pick(weather.keys), random.pick(weather.keys)];
    const token = `${this.#tokens + 1},`;
    const commands = random.pick<string[][]>([
      [['APPEND', key, token]],
      [
        ['GET', other],
        ['APPEND', key, token],
      ],
      [['KEYS'], ['APPEND', key, token]],
    ]);
    const keys = random.pick([[], [key], [key, other]]);
    const frame = this.of([['GET', key]], []);
    const args = ['sha', JSON.stringify(commands), ...keys];
    const writes = keys.map((_, at) => at + 2);
    const operation = { kind: 'script', args, writes, reads: [], reply: null, seed: 1 } as const;
    const named = keys.length === 0 ? [keyOfWrite(frame.id)] : [...new Set(keys)];
    return { ...frame, keys: named, operations: [operation] };
  }

  /** The frame of these commands. */
  of(ops: readonly string[][], checks: readonly Check[]): WriteFrame {
    const id = this.nextId();
    const { random, timeline } = this.#simulation;
    const now = timeline.now;
    const compiled = compileWrite(ops, checks, { now, seed: () => random.between(0, 1_000_000) });
    if (!compiled.ok) throw new Error(compiled.detail);
    return {
      id,
      operations: compiled.operations,
      checks,
      continueOnError: false,
      keys: compiled.keys,
      priority: random.pick([0, 0, 0, 0, 1, 5]),
      ack: random.pick(['committed', 'committed', 'confirmed']),
      notAfter: now + random.pick([300, 2_000, 10_000]),
      idempotency: random.chance(0.7) ? { key: `key-${this.#tokens}`, digest: 'same' } : null,
      callback: random.chance(0.3) ? callback : null,
      bytes: compiled.bytes,
    };
  }
}
