/** Takes snapshots over several shards. */
import { assert } from '../../shared/assert.ts';
import type { JointSnapshotRequest, JointSnapshotResult } from '../../shared/contracts/joint.ts';
import { limits } from '../../shared/limits.ts';
import { keysOfJointSnapshot } from './declared.ts';
import { silent } from './decoding.ts';
import { decodeJointSnapshot } from './joint-decoding.ts';
import { encodeJointSnapshot } from './joint-encoding.ts';
import { jointSnapshotScriptFor } from './lua-bundle.ts';
import { askedForm, sentForm } from './read-forms.ts';
import type { ScriptRunner } from './script-runner.ts';
import { tooLarge } from './snapshots.ts';

/**
 * Takes a snapshot over several shards: one script judges and reads. Never throws for faults of the region: these are
 * `silent`.
 */
export async function takeJointSnapshot(
  runner: ScriptRunner,
  request: JointSnapshotRequest,
  timeoutMs: number,
): Promise<JointSnapshotResult> {
  const commands = request.commands.map((each) => ({ ...each, args: sentForm(each.args) }));
  const argument = encodeJointSnapshot({ ...request, commands }, limits.snapshotBytes);
  const keys = keysOfJointSnapshot(request, argument);
  const script = jointSnapshotScriptFor(request);
  const sent = await runner.evaluate(script, keys, [argument], timeoutMs);
  if (sent.kind === 'too-large') {
    const replies = request.commands.map(() => tooLarge);
    return { kind: 'read', replies, locks: [], unnamed: [] };
  }
  if (sent.kind !== 'answered') {
    const { reason, isUnanswered } = sent;
    return isUnanswered ? { kind: 'silent', reason, isUnanswered } : silent(reason);
  }
  const result = decodeJointSnapshot(sent.reply, request);
  assert(result !== 'large', 'the script reads all that may be answered');
  if (result.kind !== 'read') return result;
  const replies = result.replies.map((reply, index) =>
    askedForm(request.commands[index]?.args ?? [], reply),
  );
  return { ...result, replies };
}
