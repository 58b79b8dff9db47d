import { describe, expect, it } from 'vitest';
import type { WriteFrame } from '../../shared/contracts/frame.ts';
import type { Conclusion, LoanCall } from '../../shared/contracts/loans.ts';
import { limits } from '../../shared/limits.ts';
import { frameOf } from './core-harness.ts';
import { type MessageBetweenShards, ShardsHarness } from './shards-harness.ts';

/** A write to these keys that may take a minute. */
function writeTo(keys: readonly string[], given: Partial<WriteFrame> = {}): WriteFrame {
  return frameOf(keys, { notAfter: 1_060_000, ...given });
}

function isCall({ kind }: MessageBetweenShards): boolean {
  return kind === 'join' || kind === 'conclude' || kind === 'ask';
}

/** The value of a key in each region. */
function valuesOf(shards: ShardsHarness, key: string): readonly string[] {
  return [...shards.regions.values()].map((model) => JSON.stringify(model.run('GET', key)));
}

function locksOf(shards: ShardsHarness, shard: number): number {
  return [...shards.regions.values()].reduce((sum, model) => sum + model.locks(shard).length, 0);
}

/** A joint write of shard 0 whose loan has been given, with the rounds on their way to the regions. */
function asked(shards = new ShardsHarness()) {
  const ticket = shards.write(0, writeTo(['a0', 'a1']));
  shards.deliver('join');
  shards.deliver('join-answer');
  return { shards, ticket };
}

/** The same, decided: its conclusion is on its way. */
function decided(shards = new ShardsHarness()) {
  const { ticket } = asked(shards);
  shards.deliver('joint-round');
  return { shards, ticket };
}

function joinOf(shards: ShardsHarness): Extract<LoanCall, { kind: 'join' }> {
  const [message] = shards.of('join');
  if (message?.call?.kind !== 'join') throw new Error('a loan is asked for');
  return message.call;
}

function conclusionOf(shards: ShardsHarness): Conclusion {
  const [message] = shards.of('conclude');
  if (message?.call?.kind !== 'conclude') throw new Error('a conclusion is on its way');
  return message.call.conclusion;
}

describe('a write of one shard', () => {
  it('calls no other coordinator and sends no joint round', () => {
    const shards = new ShardsHarness();
    const ticket = shards.write(0, writeTo(['a0', 'b0']));
    shards.settle();
    expect(shards.answerTo(ticket)).toMatchObject({ kind: 'decided' });
    for (const { calls, jointRounds } of shards.stepsOf(0)) {
      expect([calls, jointRounds]).toEqual([[], []]);
    }
  });
});

describe('a joint write', () => {
  it('is answered after one call to each guest and one request to each region', () => {
    const { shards, ticket } = decided();
    expect(shards.answerTo(ticket)).toMatchObject({
      kind: 'decided',
      record: { outcome: 'committed' },
    });
    shards.settle();
    const calls = [0, 1].flatMap((shard) => shards.stepsOf(shard).flatMap((step) => step.calls));
    expect(calls.map(({ call }) => call.kind)).toEqual(['join', 'conclude']);
    const rounds = shards.stepsOf(0).flatMap((step) => step.jointRounds);
    expect(rounds.map(({ region }) => region).sort()).toEqual(['far', 'middle', 'near']);
    for (const key of ['a0', 'a1']) expect(new Set(valuesOf(shards, key)).size).toBe(1);
    expect(valuesOf(shards, 'a1')[0]).toContain('value');
    expect(locksOf(shards, 0) + locksOf(shards, 1)).toBe(0);
  });

  it('is stored in one storage transaction with its loans, its answer and its key', () => {
    const idempotency = { key: 'k', digest: 'd' };
    const shards = new ShardsHarness();
    const ticket = shards.write(0, writeTo(['a0', 'a1'], { idempotency }));
    for (const kind of ['join', 'join-answer', 'joint-round'] as const) shards.deliver(kind);
    const step = shards
      .stepsOf(0)
      .find(({ replies }) => replies.some((one) => one.ticket === ticket));
    const commit = step?.persist.find((write) => write.kind === 'commit');
    expect(commit).toMatchObject({ keys: ['a0'], joint: { unacknowledged: [1] } });
    expect(commit?.kind === 'commit' && commit.joint?.shares.map(({ keys }) => keys)).toEqual([
      ['a0'],
      ['a1'],
    ]);
    expect(commit?.kind === 'commit' && commit.writes[0]?.idempotency).toEqual(idempotency);
  });

  it('shows both halves at once in a region that applies the commit of either shard', () => {
    const { shards } = decided();
    const [near] = shards.regions.values();
    shards.settle((message) => isCall(message) || message.to !== 'near');
    expect(JSON.stringify(near?.run('GET', 'a1'))).toContain('value');
  });

  it('has the greatest of all clocks, and no later write of any shard has a lesser one', () => {
    const shards = new ShardsHarness();
    shards.ahead[1] = 400;
    asked(shards);
    const [round] = shards.stepsOf(0).flatMap((step) => step.jointRounds);
    expect(round?.round.prepare.now).toBe(shards.now + 400);
    shards.settle();
    const ticket = shards.write(0, writeTo(['a0']));
    expect(ticket).toBeGreaterThan(0);
    const sends = shards.stepsOf(0).at(-1)?.sends ?? [];
    const nows = sends.flatMap((send) => (send.kind === 'round' ? send.round.prepares : []));
    for (const { now } of nows) expect(now).toBeGreaterThanOrEqual(round?.round.prepare.now ?? 0);
  });

  it('is not sent at a clock that is far ahead of home', () => {
    const shards = new ShardsHarness();
    shards.ahead[1] = limits.clockSkewMs + 500;
    asked(shards);
    expect(shards.of('joint-round')).toEqual([]);
    expect(conclusionOf(shards).outcome).toEqual({ kind: 'abort' });
  });

  it('waits in the order of the shards after a guest had to refuse, so that two that cross both go', () => {
    const shards = new ShardsHarness();
    const one = shards.write(0, writeTo(['a0', 'a1']));
    const other = shards.write(1, writeTo(['a1', 'a0']));
    shards.settle();
    shards.advance(200);
    shards.settle();
    for (const ticket of [one, other]) {
      expect(shards.answerTo(ticket)).toMatchObject({ kind: 'decided' });
    }
    expect(shards.stepsOf(0).flatMap(({ calls }) => calls)).not.toEqual([]);
  });

  it('goes together with others of the same shards, and not with a local write', () => {
    const shards = new ShardsHarness();
    const busy = shards.write(0, writeTo(['a0']));
    for (const keys of [
      ['a0', 'a1'],
      ['a0', 'b1'],
      ['a0', 'b0'],
    ])
      shards.write(0, writeTo(keys));
    shards.deliver('round');
    expect(shards.answerTo(busy)).toMatchObject({ kind: 'decided' });
    expect(joinOf(shards).request.keys).toEqual(['a1', 'b1']);
    expect(shards.coreOf(0).status().queued).toBe(1);
  });

  it('ends with the try, and not with the instance, if a region objects for another shard', () => {
    const { shards, ticket } = asked();
    // A later life of the guest has raised the fence of its regions.
    shards.restart(1);
    for (const message of shards.of('round', 1)) message.deliver();
    shards.deliver('joint-round');
    expect(shards.stepsOf(0).at(-1)?.ended).toBeNull();
    shards.settle();
    shards.advance(1_000);
    shards.settle();
    expect(shards.answerTo(ticket)).toMatchObject({ kind: 'decided' });
  });
});

describe('a loan', () => {
  it('is stored by the step that gives it, and holds its keys', () => {
    const { shards } = asked();
    const step = shards
      .stepsOf(1)
      .find(({ persist }) => persist.some(({ kind }) => kind === 'lend'));
    expect(step?.replies).toMatchObject([{ kind: 'loan', answer: { reply: { kind: 'lent' } } }]);
    const ticket = shards.write(1, writeTo(['a1']));
    expect(shards.answerTo(ticket)).toBeNull();
    expect(shards.of('round', 1)).toEqual([]);
  });

  it('is given once: a repeated question gets the same answer', () => {
    const shards = new ShardsHarness();
    shards.write(0, writeTo(['a0', 'a1']));
    const join = joinOf(shards);
    const [first, second] = [shards.call(0, 1, join), shards.call(0, 1, join)];
    expect(shards.loanAnswerTo(second)).toEqual(shards.loanAnswerTo(first));
    expect(shards.tablesOf(1).loans.size).toBe(1);
  });

  it('is refused while a key is locked or awaited', () => {
    const shards = new ShardsHarness();
    shards.write(1, writeTo(['a1']));
    shards.write(0, writeTo(['a0', 'a1']));
    const ticket = shards.call(0, 1, joinOf(shards));
    expect(shards.loanAnswerTo(ticket)).toEqual({ kind: 'join', reply: { kind: 'held' } });
  });

  it('is refused if the voters differ, and for keys of another shard', () => {
    const shards = new ShardsHarness();
    shards.write(0, writeTo(['a0', 'a1']));
    const { request } = joinOf(shards);
    const other = { ...request, voters: ['near'] };
    const differing = shards.call(0, 1, { kind: 'join', request: other });
    expect(shards.loanAnswerTo(differing)).toMatchObject({ reply: { kind: 'members-differ' } });
    const moved = shards.call(0, 1, { kind: 'join', request: { ...request, keys: ['a0'] } });
    expect(shards.loanAnswerTo(moved)).toEqual({ kind: 'join', reply: { kind: 'moved' } });
  });

  it('survives a restart of the guest, which asks home about it', () => {
    const { shards, ticket } = asked();
    shards.restart(1);
    expect(shards.of('ask', 1)).toHaveLength(1);
    shards.deliver('ask');
    shards.deliver('ask-answer');
    expect(shards.tablesOf(1).loans.size).toBe(1);
    shards.deliver('joint-round');
    shards.settle();
    expect(shards.answerTo(ticket)).toMatchObject({ kind: 'decided' });
    expect(shards.tablesOf(1).loans.size).toBe(0);
    expect(valuesOf(shards, 'a1').every((value) => value.includes('value'))).toBe(true);
  });

  it('is aborted by the word of the next life of a home that died before its decision', () => {
    const { shards } = asked();
    shards.restart(0);
    for (const message of shards.of('joint-round')) message.deliver();
    shards.advance(limits.roundTimeoutMs);
    shards.settle();
    expect(shards.tablesOf(1).loans.size).toBe(0);
    expect(locksOf(shards, 1)).toBe(0);
    expect(valuesOf(shards, 'a1').some((value) => value.includes('value'))).toBe(false);
  });

  it('is in doubt, and not aborted, if home has lost its storage', () => {
    const { shards } = asked();
    const [loan] = shards.tablesOf(1).loans.values();
    if (loan === undefined) throw new Error('there is a loan');
    shards.restart(0, 99);
    const { name, transaction } = loan;
    const question = { name, transaction, ends: false, preempts: null };
    const ticket = shards.call(1, 0, { kind: 'ask', question });
    expect(shards.loanAnswerTo(ticket)).toEqual({ kind: 'ask', word: { kind: 'unknown' } });
  });

  it('is aborted by home if its guest asks for its end', () => {
    const { shards } = asked();
    const [loan] = shards.tablesOf(1).loans.values();
    if (loan === undefined) throw new Error('there is a loan');
    const { name, transaction } = loan;
    const question = { name, transaction, ends: true, preempts: null };
    const ticket = shards.call(1, 0, { kind: 'ask', question });
    expect(shards.loanAnswerTo(ticket)).toMatchObject({
      word: { kind: 'concluded', outcome: { kind: 'abort' } },
    });
  });

  it('is pending while home has not decided, and for home to end if a higher priority asks', () => {
    const { shards } = asked();
    const [loan] = shards.tablesOf(1).loans.values();
    if (loan === undefined) throw new Error('there is a loan');
    const { name, transaction } = loan;
    const ask = (preempts: number | null) => {
      const question = { name, transaction, ends: false, preempts };
      return shards.loanAnswerTo(shards.call(1, 0, { kind: 'ask', question }));
    };
    expect(ask(null)).toEqual({ kind: 'ask', word: { kind: 'pending' } });
    expect(ask(0)).toEqual({ kind: 'ask', word: { kind: 'pending' } });
    expect(ask(5)).toMatchObject({ word: { outcome: { kind: 'abort' } } });
  });

  it('keeps the guest from renewing a lease once it is old', () => {
    const { shards } = asked();
    shards.step(1, { kind: 'lease-requested', wishes: [{ region: 'near', forMs: 60_000 }] });
    const except = (message: MessageBetweenShards) =>
      message.kind === 'joint-round' || isCall(message);
    shards.settle(except);
    shards.advance(limits.roundTimeoutMs + 1);
    const before = shards.stepsOf(1).length;
    shards.advance(1_500);
    const later = shards.stepsOf(1).slice(before);
    const rounds = later.flatMap(({ sends }) =>
      sends.flatMap((send) => (send.kind === 'round' ? [send.round] : [])),
    );
    expect(rounds.filter(({ lease }) => lease !== null)).toEqual([]);
  });
});

describe('a conclusion', () => {
  it('is repeated by the next life of home until the guest acknowledges it', () => {
    const { shards } = decided();
    for (const message of shards.of('conclude')) message.lose();
    shards.restart(0);
    expect(conclusionOf(shards).outcome.kind).toBe('commit');
    shards.settle();
    expect(shards.tablesOf(1).loanCommits.size).toBe(1);
    expect([...shards.tablesOf(0).jointCommits.values()]).toMatchObject([{ unacknowledged: [] }]);
    shards.restart(0);
    expect(shards.of('conclude')).toEqual([]);
  });

  it('is acknowledged with a storage write, even of a loan that nobody knows', () => {
    const { shards } = decided();
    const conclusion = conclusionOf(shards);
    shards.settle();
    const before = shards.stepsOf(1).length;
    shards.call(0, 1, { kind: 'conclude', conclusion });
    expect(shards.stepsOf(1)[before]?.persist).not.toEqual([]);
    expect(shards.tablesOf(1).loanCommits.size).toBe(1);
  });

  it('counts for the very loan that it names', () => {
    const { shards } = decided();
    const conclusion = conclusionOf(shards);
    const other = { ...conclusion, transaction: [9, 9] as const };
    shards.call(0, 1, { kind: 'conclude', conclusion: other });
    expect(shards.tablesOf(1).loans.size).toBe(1);
  });

  it('lets a reader wait for the word of home, and names all shares of a commit', () => {
    const { shards } = asked();
    const [loan] = shards.tablesOf(1).loans.values();
    if (loan === undefined) throw new Error('there is a loan');
    const ticket = shards.ask(1, loan.transaction);
    expect(shards.resolutionOf(ticket)).toBeNull();
    shards.deliver('ask');
    shards.deliver('ask-answer');
    expect(shards.resolutionOf(ticket)).toMatchObject({ kind: 'pending' });
    shards.deliver('joint-round');
    for (const message of shards.of('conclude')) message.lose();
    const again = shards.ask(1, loan.transaction);
    shards.deliver('ask');
    shards.deliver('ask-answer');
    expect(shards.resolutionOf(again)).toMatchObject({
      kind: 'committed',
      keys: ['a1'],
      otherShares: [{ shard: 0, keys: ['a0'] }],
    });
  });

  it('ends the instance that is asked about a later life of itself', () => {
    const { shards } = asked();
    const [loan] = shards.tablesOf(1).loans.values();
    if (loan === undefined) throw new Error('there is a loan');
    const name = { ...loan.name, incarnation: loan.name.incarnation + 1 };
    const question = { name, transaction: loan.transaction, ends: false, preempts: null };
    shards.call(1, 0, { kind: 'ask', question });
    expect(shards.stepsOf(0).at(-1)?.ended).toContain('later incarnation');
  });
});

describe('a divergence in a joint write', () => {
  it('is reported to the guests: each evicts the region that computed other results', () => {
    const shards = new ShardsHarness();
    shards.regions.get('far')?.run('SET', 'a1', 'changed around Lockstep');
    const operations = [
      { kind: 'read', args: ['GET', 'a1'], writes: [], reads: [1], reply: null, seed: null },
    ] as const;
    const frame = writeTo(['a0', 'a1']);
    const ticket = shards.write(0, { ...frame, operations: [...operations, ...frame.operations] });
    for (const kind of ['join', 'join-answer', 'joint-round'] as const) shards.deliver(kind);
    expect(conclusionOf(shards).minority).toEqual(['far']);
    shards.deliver('conclude');
    for (const shard of [0, 1]) {
      const far = shards
        .coreOf(shard)
        .status()
        .regions.find(({ region }) => region === 'far');
      expect(far?.cause).toBe('diverged');
    }
    expect(shards.answerTo(ticket)).toBeNull();
  });

  it('blocks the keys of each shard if no majority says which are right', () => {
    const shards = new ShardsHarness(2, ['near', 'far']);
    shards.regions.get('far')?.run('SET', 'a1', 'changed around Lockstep');
    const operations = [
      { kind: 'read', args: ['GET', 'a1'], writes: [], reads: [1], reply: null, seed: null },
    ] as const;
    const frame = writeTo(['a0', 'a1']);
    shards.write(0, { ...frame, operations: [...operations, ...frame.operations] });
    for (const kind of ['join', 'join-answer', 'joint-round'] as const) shards.deliver(kind);
    shards.deliver('conclude');
    expect([...shards.tablesOf(1).blocked.keys()]).toEqual(['a1']);
    const refused = shards.write(0, writeTo(['b0', 'a1']));
    for (const kind of ['join', 'join-answer'] as const) shards.deliver(kind);
    expect(shards.answerTo(refused)).toMatchObject({ kind: 'unavailable', code: 'diverged' });
  });
});
