/** Turns the coordinator's answers about writes into the JSON and the problems that clients see. */
import {
  type PartOutcome,
  parsePartOutcome,
  type Reply,
} from '../../../shared/commands/replies.ts';
import type {
  PlacedAnswer,
  VoteRecord,
  WriteRecord,
  WriteRequest,
  WriteStatus,
} from '../../../shared/contracts/coordinator.ts';
import type { Check } from '../../../shared/contracts/frame.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import type { WriteId } from '../../../shared/ids.ts';

/** The JSON of a write's outcome. */
export type WriteResponse = Readonly<Record<string, unknown>> & { readonly id: WriteId };

/** The part of a request that its response refers to. */
type PresentedRequest = Pick<WriteRequest, 'ops' | 'checks' | 'ack'>;
type Decided = Extract<PlacedAnswer, { kind: 'decided' | 'unconfirmed' }>;
type Unavailable = Extract<PlacedAnswer, { kind: 'unavailable' }>;
type CheckFailed = Extract<PartOutcome, { kind: 'check-failed' }>;

/** The advice for regions that hold data before a shard was started. */
export const foundingAdvice =
  'An operator must choose how to start: POST /v1/admin/found with {"source": "<id>"} copies that region to all others, with {"agree": true} treats all as equal, and with {} counts the regions again. The counts are in `regions` and in GET /v1/regions.';

const fullDetails = {
  writes:
    'Nothing was written: the storage of the coordinator has reached LOCKSTEP_KEPT_BYTES. Reads continue; writes resume once older entries expire.',
  keys: 'Nothing was written: responses to writes with an Idempotency-Key fill the storage of the coordinator, and there is no room to keep another for an hour. Retry later, or without the key.',
} as const;

/** The conditions that no retry alone ends, with the remedy of each. */
const needsMembers = {
  'too-few-voters': {
    name: 'too-few-voters',
    advice: 'Retry once GET /v1/regions shows more voters.',
  },
  full: {
    name: 'regions-full',
    advice: 'Delete data, which is possible without memory, or give these regions more memory.',
  },
  diverged: {
    name: 'key-diverged',
    advice: 'An operator must name the correct region: POST /v1/admin/repair.',
  },
  lost: {
    name: 'region-lost',
    advice: 'An operator must name the correct region: POST /v1/admin/regions/<id>/force-recover.',
  },
  'not-founded': { name: 'not-founded', advice: foundingAdvice },
} as const;

/** The response to a write. */
export function presentAnswer(
  answer: PlacedAnswer,
  request: PresentedRequest,
): Result<WriteResponse> {
  switch (answer.kind) {
    case 'decided':
    case 'unconfirmed':
      return presentDecided(answer, request);
    case 'accepted':
      return success({ id: answer.id, outcome: 'pending' });
    case 'unavailable':
      return presentUnavailable(answer);
    case 'too-late': {
      const detail =
        'Nothing was written: notAfter had passed when the write arrived. Retry with a later one, in ms since 1970.';
      return failure('not-after-passed', detail, { id: answer.id });
    }
    case 'busy': {
      const retryAfter = String(Math.max(1, Math.ceil(answer.retryAfterMs / 1_000)));
      const detail = `Nothing was written. Retry in ${retryAfter} s.`;
      return failure('too-many-writes', detail, {}, { 'Retry-After': retryAfter });
    }
    case 'full':
      return failure('storage-full', fullDetails[answer.what], {}, { 'Retry-After': '60' });
    case 'key-reused':
      return failure(
        'idempotency-key-reused',
        `Another request used this Idempotency-Key, as write ${answer.id}. Use a new key.`,
        { id: answer.id },
      );
    case 'refused':
      return failure(answer.problem, answer.detail);
  }
}

/** The response to a request for the status of a write. */
export function presentStatus(id: WriteId, status: WriteStatus): Result<WriteResponse> {
  switch (status.kind) {
    case 'pending':
      return success({ id, outcome: 'pending' });
    case 'unavailable': {
      const { reason, code, faults: regions } = status;
      const type = code === null ? undefined : `/problems/${needsMembers[code].name}`;
      return success({ id, outcome: 'unavailable', type, reason, regions });
    }
    case 'unknown':
      return failure(
        'write-unknown',
        'The write was never received, was abandoned, or is older than the log.',
      );
    case 'recorded':
      return success(presentRecord(status.record, status.confirmed));
  }
}

function presentDecided(answer: Decided, request: PresentedRequest): Result<WriteResponse> {
  const { record } = answer;
  const part = parsePartOutcome(record.part);
  const replayed = answer.kind === 'decided' && answer.replayed;
  if (part.kind === 'done') {
    const hasWaited = answer.kind === 'decided' && request.ack === 'confirmed';
    return success({
      ...presentCommitted(record, part.results, hasWaited || isApplied(record)),
      replayed,
      keptUntil: keptUntilOf(record),
    });
  }
  const common = {
    id: record.id,
    transaction: record.transaction,
    replayed,
    keptUntil: keptUntilOf(record),
    votes: votesOf(record),
  };
  if (part.kind === 'check-failed') return presentCheckFailed(part, request.checks, common);
  const { index, error } = part;
  const name = request.ops[index]?.[0] ?? '';
  const detail = `ops[${index}] (${name.slice(0, 40)}) failed: ${error}. Nothing was written.`;
  return failure('command-failed', detail, { ...common, index, error });
}

function presentCheckFailed(
  { index, actual }: CheckFailed,
  checks: readonly Check[],
  common: Readonly<Record<string, unknown>>,
): Result<WriteResponse> {
  const check = checks[index];
  const expected = check === undefined ? null : expectationOf(check);
  const detail = `checks[${index}] on the key ${JSON.stringify(check?.key.slice(0, 100))} did not hold. Nothing was written.`;
  return failure('check-failed', detail, {
    ...common,
    index,
    check: check && spelled(check),
    expected,
    actual,
  });
}

/** A check in the form in which the client sent it. */
function spelled(check: Check): Readonly<Record<string, unknown>> {
  const { key } = check;
  switch (check.kind) {
    case 'absent':
    case 'exists':
      return { key, [check.kind]: true };
    case 'type':
      return { key, type: check.type };
    case 'equals':
      return { key, equals: check.value };
    case 'field':
      return { key, field: check.field, equals: check.value };
  }
}

function expectationOf(check: Check): string {
  switch (check.kind) {
    case 'absent':
    case 'exists':
      return check.kind;
    case 'type':
      return check.type;
    case 'equals':
    case 'field':
      return check.value;
  }
}

function presentUnavailable({ id, faults, reason, code }: Unavailable): Result<WriteResponse> {
  const headers = { 'Retry-After': '1' };
  if (code) {
    const { name, advice } = needsMembers[code];
    const detail = `Nothing was written: ${reason}. ${advice}`;
    return failure(name, detail, { id, regions: faults }, headers);
  }
  if (faults.length === 0) {
    return failure('not-decided', `Nothing was written: ${reason}. Retry.`, { id }, headers);
  }
  const named = faults.map((fault) => `${fault.region} (${fault.reason})`).join(', ');
  const detail = `Nothing was written in any region: ${reason}. At fault: ${named}. Retry.`;
  return failure('region-unavailable', detail, { id, regions: faults }, headers);
}

function presentRecord(record: WriteRecord, confirmed: boolean): WriteResponse {
  const part = parsePartOutcome(record.part);
  const kept = {
    appliedIn: record.appliedIn,
    decidedAt: new Date(record.decidedAt).toISOString(),
  };
  if (part.kind === 'done')
    return { ...presentCommitted(record, part.results, confirmed), ...kept };
  const { id, transaction, attempts, ms } = record;
  const votes = votesOf(record);
  const rejection = { ...part, kind: undefined, type: `/problems/${part.kind}` };
  return { id, outcome: 'rejected', transaction, rejection, votes, attempts, ms, ...kept };
}

function presentCommitted(
  record: WriteRecord,
  results: readonly Reply[],
  confirmed: boolean,
): WriteResponse {
  const { id, transaction, sequence, attempts, ms } = record;
  const outcome = confirmed ? 'confirmed' : 'committed';
  return {
    id,
    outcome,
    confirmed,
    transaction,
    sequence,
    results,
    votes: votesOf(record),
    attempts,
    ms,
  };
}

/** The ISO time until which the response is kept under its Idempotency-Key, at least. Undefined without a key. */
function keptUntilOf({ keptUntil }: WriteRecord): string | undefined {
  return keptUntil === undefined ? undefined : new Date(keptUntil).toISOString();
}

/** True if every region that voted has applied the write. */
function isApplied({ votes, appliedIn }: WriteRecord): boolean {
  return votes.every(({ region }) => appliedIn.includes(region));
}

function votesOf({ votes }: WriteRecord): readonly Readonly<Record<string, unknown>>[] {
  return votes.map(({ reason, ...vote }: VoteRecord) =>
    reason === null ? vote : { ...vote, reason },
  );
}
