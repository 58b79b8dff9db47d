import type { WriteFrame } from '../../shared/contracts/frame.ts';
import type { Conclusion, LoanCall } from '../../shared/contracts/loans.ts';
import { limits } from '../../shared/limits.ts';
import type { StoredLoan } from '../../shared/protocol/io/stored.ts';
import { frameOf } from '../protocol/core-harness.ts';
import { type MessageBetweenShards, ShardsHarness } from '../protocol/shards-harness.ts';

/**
 * Scenes of joint writes, by hand: cases that chance hardly ever shows, each for the rule that it names. A seed names a
 * scene.
 */
const scenes: readonly (() => void)[] = [
  /** 0, R59: a guest whose clock is behind does not begin a transaction before the moment of a joint write. */
  () => {
    const shards = new ShardsHarness();
    shards.ahead[0] = 800;
    decided(shards);
    const now = shards.stepsOf(0).flatMap((step) => step.jointRounds)[0]?.round.prepare.now ?? 0;
    shards.deliver('conclude');
    shards.write(1, writeTo(['a1']));
    must(preparedAt(shards, 1) >= now, 'a later write has an earlier moment');
  },
  /** 1, R60: nor before that of a joint write whose check failed, if it learns of it by asking. */
  () => {
    const shards = new ShardsHarness();
    shards.ahead[0] = 800;
    const frame = writeTo(['a0', 'a1'], { checks: [{ kind: 'exists', key: 'a1' }] });
    const ticket = shards.write(0, frame);
    for (const kind of ['join', 'join-answer', 'joint-round'] as const) shards.deliver(kind);
    const now = shards.stepsOf(0).flatMap((step) => step.jointRounds)[0]?.round.prepare.now ?? 0;
    must(shards.answerTo(ticket)?.kind === 'decided', 'it is decided');
    for (const message of shards.of('conclude')) message.lose();
    shards.restart(1);
    shards.deliver('ask');
    shards.deliver('ask-answer');
    shards.settle((message) => message.kind === 'conclude');
    shards.write(1, writeTo(['b1']));
    must(preparedAt(shards, 1) >= now, 'a later write has an earlier moment');
  },
  /** 2, R63: no lease is renewed while a loan has been open for long. */
  () => {
    const { shards } = asked();
    shards.step(1, { kind: 'lease-requested', wishes: [{ region: 'near', forMs: 60_000 }] });
    const except = (message: MessageBetweenShards) =>
      message.kind === 'joint-round' || isCall(message);
    shards.settle(except);
    shards.advance(limits.roundTimeoutMs + 1);
    const before = shards.stepsOf(1).length;
    shards.advance(2_000);
    const sends = shards
      .stepsOf(1)
      .slice(before)
      .flatMap((step) => step.sends);
    const leases = sends.filter((send) => send.kind === 'round' && send.round.lease !== null);
    must(leases.length === 0, 'a lease was asked for under an old loan');
  },
  /** 3, R64: no region is evicted under an open loan, as long as its home may still be asked to end it. */
  () => {
    const { shards } = asked();
    const evicts = { kind: 'put-out', region: 'far', reason: 'a test' } as const;
    shards.step(1, { kind: 'admin-command', ticket: 9_999, command: evicts });
    shards.settle((message) => message.kind === 'joint-round' || isCall(message));
    shards.advance(100);
    shards.settle((message) => message.kind === 'joint-round' || isCall(message));
    const far = shards
      .coreOf(1)
      .status()
      .regions.find(({ region }) => region === 'far');
    must(far?.state === 'voter', 'a region was evicted under an open loan');
    const ends = shards.of('ask').some(({ call }) => call?.kind === 'ask' && call.question.ends);
    must(ends, 'home was not asked to end the loan');
  },
  /** 4, R61: the outcome of a loan is not guessed for a reader. */
  () => {
    const { shards } = decided();
    for (const message of shards.of('conclude')) message.lose();
    const ticket = shards.ask(1, loanOf(shards).transaction);
    const early = shards.resolutionOf(ticket);
    must(early === null, `a reader heard ${early?.kind} before home was asked`);
    shards.deliver('ask');
    shards.deliver('ask-answer');
    must(shards.resolutionOf(ticket)?.kind === 'committed', 'home has committed');
  },
  /** 5, R65: a region does not return while a loan is open. */
  () => {
    const shards = new ShardsHarness();
    for (const shard of [0, 1]) command(shards, shard, 'put-out');
    shards.settle();
    shards.advance(5_000);
    shards.settle();
    asked(shards);
    must(shards.tablesOf(1).loans.size === 1, 'a loan is open');
    command(shards, 1, 'return');
    for (let turn = 0; turn < 5; turn += 1) {
      shards.settle((message) => message.kind === 'joint-round' || isCall(message));
      shards.advance(200);
    }
    const far = shards
      .coreOf(1)
      .status()
      .regions.find(({ region }) => region === 'far');
    must(far?.state !== 'voter', 'a region returned while a loan was open');
  },
  /** 6, R57: two writes that cross do not wait for each other in a circle. */
  () => {
    const shards = new ShardsHarness();
    const tickets = [
      shards.write(0, writeTo(['a0', 'a1'])),
      shards.write(1, writeTo(['a1', 'a0'])),
    ];
    for (let turn = 0; turn < 40; turn += 1) {
      for (const message of [...shards.messages]) message.deliver();
      shards.advance(10);
    }
    const kinds = tickets.map((ticket) => shards.answerTo(ticket)?.kind);
    must(
      kinds.every((kind) => kind === 'decided'),
      `they wait for each other: ${kinds}`,
    );
  },
  /** 7, R57: a guest does not lend past those who wait. */
  () => {
    const shards = new ShardsHarness();
    shards.write(1, writeTo(['a1']));
    shards.write(1, writeTo(['a1', 'b1']));
    shards.write(0, writeTo(['a0', 'b1']));
    const answer = shards.loanAnswerTo(shards.call(0, 1, joinOf(shards)));
    must(answer?.kind === 'join' && answer.reply.kind === 'held', 'it lent past a waiting write');
  },
  /** 8, R61: home does not call a transaction aborted that it may still commit. */
  () => {
    const { shards } = asked();
    const { name, transaction } = loanOf(shards);
    const question = { name, transaction, ends: false, preempts: null };
    const answer = shards.loanAnswerTo(shards.call(1, 0, { kind: 'ask', question }));
    must(
      answer?.kind === 'ask' && answer.word.kind === 'pending',
      'home gave it up in words alone',
    );
  },
  /** 9, R61: a home that was born again does not answer for its predecessor. */
  () => {
    const { shards } = decided();
    const { name, transaction } = loanOf(shards);
    shards.restart(0, 99);
    const question = { name, transaction, ends: false, preempts: null };
    const answer = shards.loanAnswerTo(shards.call(1, 0, { kind: 'ask', question }));
    must(answer?.kind === 'ask' && answer.word.kind === 'unknown', 'it answered for another birth');
  },
  /** 10, R65: a read through the guest waits until its loans are over. */
  () => {
    const { shards } = decided();
    const command = { args: ['GET', 'a1'], reads: [1], reply: null };
    const request = { keys: ['a1'], commands: [command], region: null };
    shards.step(1, { kind: 'read-requested', ticket: 9_998, request });
    const snapshots = shards
      .stepsOf(1)
      .flatMap(({ sends }) => sends.filter(({ kind }) => kind === 'snapshot'));
    must(snapshots.length === 0, 'a lent key was read through the guest');
  },
  /** 11, R59: a moment that is far ahead of home is not sent to any region. */
  () => {
    const shards = new ShardsHarness();
    shards.ahead[1] = limits.clockSkewMs + 500;
    asked(shards);
    must(shards.of('joint-round').length === 0, 'a moment far ahead was sent');
  },
  /** 12, R66: guests learn which regions were in the minority. */
  () => {
    const shards = new ShardsHarness();
    shards.regions.get('far')?.run('SET', 'a1', 'changed around Lockstep');
    divergent(shards);
    const far = shards
      .coreOf(1)
      .status()
      .regions.find(({ region }) => region === 'far');
    must(far?.cause === 'diverged', 'the guest did not hear of the minority');
  },
  /** 13, R66: without a majority each shard blocks its own keys. */
  () => {
    const shards = new ShardsHarness(2, ['near', 'far']);
    shards.regions.get('far')?.run('SET', 'a1', 'changed around Lockstep');
    divergent(shards);
    must(shards.tablesOf(1).blocked.has('a1'), 'the guest did not block its key');
  },
  /** 14, R44: a loan ends the rest that is noted in storage, since a region may be asked to lock its keys. */
  () => {
    const shards = new ShardsHarness();
    for (let turn = 0; turn < 8; turn += 1) {
      shards.settle();
      shards.advance(limits.restAfterMs);
    }
    must(shards.tablesOf(1).isResting, 'the guest is at rest');
    asked(shards);
    must(!shards.tablesOf(1).isResting, 'a loan was given at rest');
  },
  /** 15, R60: the acknowledgement of an unknown loan follows a storage write. */
  () => {
    const { shards } = decided();
    const conclusion = conclusionOf(shards);
    shards.settle();
    const before = shards.stepsOf(1).length;
    shards.call(0, 1, { kind: 'conclude', conclusion });
    must((shards.stepsOf(1)[before]?.persist.length ?? 0) > 0, 'it was acknowledged without proof');
  },
  /** 16, R58: keys are lent as their owner sees them when it takes them: a copy that pauses writes meanwhile lends none. */
  () => {
    const shards = new ShardsHarness();
    shards.write(0, writeTo(['a0', 'a1']));
    const join = joinOf(shards);
    const waiting = { ...join.request, waitMs: limits.loanWaitMs };
    shards.write(1, writeTo(['a1']));
    const ticket = shards.call(0, 1, { kind: 'join', request: waiting });
    must(shards.loanAnswerTo(ticket) === null, 'it waits for its key');
    command(shards, 1, 'put-out');
    shards.settle((message) => isCall(message) || message.shard === 0);
    const answer = shards.loanAnswerTo(ticket);
    must(answer?.kind === 'join' && answer.reply.kind !== 'lent', 'it lent with other voters');
  },
  /** 17, R58: a guest that was at rest when it died asks for older locks, so that it can lend. */
  () => {
    const shards = new ShardsHarness();
    shards.write(1, writeTo(['a1']));
    for (let turn = 0; turn < 8; turn += 1) {
      shards.settle();
      shards.advance(limits.restAfterMs);
    }
    must(shards.tablesOf(1).isResting, 'the guest is at rest');
    shards.restart(1);
    const ticket = shards.write(0, writeTo(['a0', 'a1']));
    shards.settle();
    shards.advance(1_000);
    shards.settle();
    must(shards.answerTo(ticket)?.kind === 'decided', 'a guest at rest never lends');
  },
  /** 18, R63: after a restart of the guest every open loan counts as old. */
  () => {
    const { shards } = asked();
    shards.restart(1);
    shards.step(1, { kind: 'lease-requested', wishes: [{ region: 'near', forMs: 60_000 }] });
    shards.settle((message) => message.kind === 'joint-round' || isCall(message));
    const sends = shards.stepsOf(1).flatMap((step) => step.sends);
    const leases = sends.filter((send) => send.kind === 'round' && send.round.lease !== null);
    must(leases.length === 0, 'a lease was asked for under a loan of a former life');
  },
  /** 19, R8: an urgent write does not wait for a loan to a lesser one that is undecided. */
  () => {
    const { shards } = asked();
    const ticket = shards.write(1, writeTo(['a1'], { priority: 5 }));
    shards.settle((message) => message.kind === 'joint-round');
    must(shards.answerTo(ticket)?.kind === 'decided', 'an urgent write waits for a lesser one');
  },
];

/** The scene that the seed names. */
export function run(seed: number): { readonly scenes: number } {
  scenes[seed % scenes.length]?.();
  return { scenes: 1 };
}

function must(condition: boolean, claim: string): void {
  if (!condition) throw new Error(claim);
}

function writeTo(keys: readonly string[], given: Partial<WriteFrame> = {}): WriteFrame {
  return frameOf(keys, { notAfter: 1_600_000, ...given });
}

function isCall({ kind }: MessageBetweenShards): boolean {
  return kind === 'join' || kind === 'conclude' || kind === 'ask';
}

/** A joint write of shard 0 whose loan has been given. */
function asked(shards = new ShardsHarness()) {
  shards.write(0, writeTo(['a0', 'a1']));
  shards.deliver('join');
  shards.deliver('join-answer');
  return { shards };
}

/** The same, decided: its conclusion is on its way. */
function decided(shards = new ShardsHarness()) {
  asked(shards);
  shards.deliver('joint-round');
  return { shards };
}

/** A joint write that reads a key which differs between regions, and its conclusion. */
function divergent(shards: ShardsHarness): void {
  const read = { kind: 'read', args: ['GET', 'a1'], writes: [], reads: [1] } as const;
  const frame = writeTo(['a0', 'a1']);
  const operations = [{ ...read, reply: null, seed: null }, ...frame.operations];
  shards.write(0, { ...frame, operations });
  for (const kind of ['join', 'join-answer', 'joint-round', 'conclude'] as const) {
    shards.deliver(kind);
  }
}

function command(shards: ShardsHarness, shard: number, kind: 'put-out' | 'return'): void {
  const order =
    kind === 'put-out'
      ? ({ kind, region: 'far', reason: 'a test' } as const)
      : ({ kind, region: 'far', whole: false, force: false } as const);
  shards.step(shard, { kind: 'admin-command', ticket: 9_000, command: order });
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

function loanOf(shards: ShardsHarness): StoredLoan {
  const [loan] = shards.tablesOf(1).loans.values();
  if (loan === undefined) throw new Error('there is a loan');
  return loan;
}

/** The latest moment at which a shard has asked a region to prepare something. */
function preparedAt(shards: ShardsHarness, shard: number): number {
  const rounds = shards
    .stepsOf(shard)
    .flatMap(({ sends }) => sends.flatMap((send) => (send.kind === 'round' ? [send.round] : [])));
  return Math.max(...rounds.flatMap(({ prepares }) => prepares.map(({ now }) => now)).slice(-1));
}
