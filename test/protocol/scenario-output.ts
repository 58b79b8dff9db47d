import type { CoordinatorStatus } from '../../shared/contracts/coordinator.ts';
import type { Ticket } from '../../shared/protocol/io/events.ts';
import type {
  CoordinatorReply,
  Ready,
  Send,
  StorageWrite,
} from '../../shared/protocol/io/ready.ts';

/** The output of one step, as one line per effect: stored, sent and answered, in this order. */
export function linesOf(step: Ready, nameOf: (ticket: Ticket) => string): readonly string[] {
  return [
    ...step.persist.flatMap(storedLines),
    ...step.sends.map(sentLine),
    ...step.replies.map((reply) => `answer ${nameOf(reply.ticket)}: ${replyText(reply)}`),
    ...(step.ended === null ? [] : [`end: ${step.ended}`]),
  ];
}

/** The members of a shard, as operators see them. */
export function membersText({
  epoch,
  sequence,
  regions,
  queued,
  undecided,
  held,
}: CoordinatorStatus) {
  return [
    `epoch ${epoch}, sequence ${sequence}, ${undecided} undecided, ${queued} queued${held ? ', writes pause' : ''}`,
    ...regions.map(({ region, state, cause, health, unacknowledged, missedKeys }) => {
      const why = cause === null ? '' : ` (${cause})`;
      const missed = missedKeys === null ? 'all' : String(missedKeys);
      return `${region}: ${state}${why}, ${health}, ${unacknowledged} unacknowledged, ${missed} missed`;
    }),
  ];
}

function storedLines(write: StorageWrite): readonly string[] {
  switch (write.kind) {
    case 'commit': {
      const missed = write.missedBy.length > 0 ? `, missed by ${write.missedBy.join(' ')}` : '';
      return [
        `store commit ${write.transaction.join('.')} [${write.keys.join(' ')}] as ${write.sequence}${missed}`,
      ];
    }
    case 'confirm':
      return [`store confirmed ${write.transactions.map((one) => one.join('.')).join(' ')}`];
    case 'members':
      return write.changes.length === 0
        ? [`store members of epoch ${write.epoch}`]
        : write.changes.map(({ region, event, sequence }) => {
            return `store ${region} ${event}, epoch ${write.epoch}, as ${sequence}`;
          });
    case 'region':
      return [`store region ${write.region.region}: ${write.region.membership.state}`];
    case 'missed':
      return [
        `store missed by ${write.missed.region}: ${write.missed.keys.map(([key]) => key).join(' ')}`,
      ];
    case 'copied':
      return [`store copied to ${write.region}: ${write.keys?.join(' ') ?? 'all'}`];
    case 'rest':
      return [`store ${write.isResting ? 'rest' : 'no rest'}`];
    default:
      return [`store ${write.kind}`];
  }
}

function sentLine(send: Send): string {
  if (send.kind === 'snapshot') return `snapshot ${send.region}: [${send.request.keys.join(' ')}]`;
  const { round, region } = send;
  const parts = [
    ...round.decisions.map(({ outcome, transaction }) => `${outcome} ${transaction.join('.')}`),
    ...round.prepares.map(
      ({ transaction, keys }) => `prepare ${transaction.join('.')} [${keys.join(' ')}]`,
    ),
    ...(round.begin ? ['begin'] : []),
    ...(round.askOlder ? ['list older locks'] : []),
    ...(round.lease === null ? [] : [round.lease.reading === null ? 'read clock' : 'renew lease']),
    ...(round.copy === null ? [] : [`copy: ${round.copy.kind}`]),
  ];
  return `round to ${region}, epoch ${round.epoch}: ${parts.length === 0 ? 'nothing' : parts.join(', ')}`;
}

function replyText(reply: CoordinatorReply): string {
  if (reply.kind !== 'write')
    return reply.kind === 'read' ? `read ${reply.answer.kind}` : reply.kind;
  const { answer } = reply;
  switch (answer.kind) {
    case 'decided':
      return `${answer.record.outcome} as ${answer.record.sequence} by ${answer.record.transaction}`;
    case 'unavailable':
      return `unavailable: ${answer.reason}`;
    case 'refused':
      return `refused: ${answer.detail}`;
    default:
      return answer.kind;
  }
}
