/** Checks that a region's token may run scripts, and the commands that rounds and copies use in them. */
import type { CommandResult } from '../../../shared/contracts/round.ts';
import { digestOf } from '../../region/lua-bundle.ts';
import { bad, type CommandRunner, type DoctorCheck, doubtful, good, reasonOf } from './check.ts';
import { dialectChecks } from './dialect-checks.ts';
import { roundChecks } from './round-checks.ts';

const plain = 'return 1';

/** The doctor's keys expire after this time, in ms, in case it is interrupted. */
const keyLifeMs = 60_000;

/**
 * Tries each command that rounds and copies use, on the doctor's own keys. Returns a flat list of names, each followed
 * by `ok` or the error. KEYS are three keys; ARGV[1] is their expiry time in ms since 1970.
 */
const probe = `local results = {}
local function try(name, ...)
  local reply = redis.pcall(...)
  local failed = type(reply) == 'table' and reply.err
  results[#results + 1] = name
  results[#results + 1] = failed or 'ok'
  return reply
end
try('PXAT', 'SET', KEYS[1], 'v', 'PXAT', ARGV[1])
try('COPY', 'COPY', KEYS[1], KEYS[2])
try('RENAME', 'RENAME', KEYS[2], KEYS[3])
try('PEXPIRETIME', 'PEXPIRETIME', KEYS[1])
local dump = try('DUMP', 'DUMP', KEYS[1])
if type(dump) == 'string' then
  try('RESTORE', 'RESTORE', KEYS[2], ARGV[1], dump, 'REPLACE', 'ABSTTL')
end
try('UNLINK', 'UNLINK', KEYS[1], KEYS[2], KEYS[3])
try('MSET', 'MSET', KEYS[1], 'v', KEYS[2], 'v')
try('MGET', 'MGET', KEYS[1], KEYS[2])
try('SETRANGE', 'SETRANGE', KEYS[3], '0', '')
try('PEXPIREAT', 'PEXPIREAT', KEYS[1], ARGV[1])
redis.pcall('UNLINK', KEYS[2])
try('HSET', 'HSET', KEYS[2], 'f', 'v')
try('HSCAN', 'HSCAN', KEYS[2], '0', 'COUNT', '10')
redis.pcall('UNLINK', KEYS[1], KEYS[2])
try('SCAN', 'SCAN', '0', 'COUNT', '1')
try('TIME', 'TIME')
return results`;

/** The commands without which no round can run. */
const needed = [
  ...['PXAT', 'COPY', 'RENAME', 'UNLINK', 'MSET', 'MGET', 'SETRANGE', 'PEXPIREAT', 'HSET'],
  ...['HSCAN', 'SCAN', 'TIME'],
];

/**
 * Checks that scripts run as rounds need them, with the commands of rounds and copies. `now`: ms, by the region's
 * clock.
 */
export async function scriptChecks(
  run: CommandRunner,
  runId: string,
  now: number,
): Promise<readonly DoctorCheck[]> {
  const script = await run('EVAL', plain, '0');
  if (!isOne(script)) {
    const advice =
      'Allow EVAL for this token: every round is a script. A read-only token does not.';
    return [bad('scripts', reasonOf(script), advice)];
  }
  return [
    good('scripts', 'EVAL'),
    await digestCheck(run),
    ...(await commandChecks(run, runId, now)),
    ...(await dialectChecks(run, runId)),
    ...(await roundChecks(run, runId)),
  ];
}

async function digestCheck(run: CommandRunner): Promise<DoctorCheck> {
  const result = await run('EVALSHA', await digestOf(plain), '0');
  if (isOne(result)) return good('EVALSHA', 'known after EVAL');
  const advice = 'Nothing is needed, but it costs: each round sends its whole script.';
  return doubtful('EVALSHA', reasonOf(result), advice);
}

async function commandChecks(
  run: CommandRunner,
  runId: string,
  now: number,
): Promise<readonly DoctorCheck[]> {
  const keys = ['a', 'b', 'c'].map((name) => `lockstep:doctor:{${runId}}:${name}`);
  const result = await run('EVAL', probe, '3', ...keys, String(Math.round(now + keyLifeMs)));
  if (result.kind !== 'answered' || !Array.isArray(result.reply)) {
    const advice = 'Allow writing for this token.';
    return [bad('commands', reasonOf(result), advice)];
  }
  const results = new Map<string, string>();
  for (let at = 0; at + 1 < result.reply.length; at += 2) {
    results.set(String(result.reply[at]), String(result.reply[at + 1]));
  }
  const failed = needed.filter((name) => results.get(name) !== 'ok');
  const faults = failed.map((name) => `${name}: ${results.get(name) ?? 'not tried'}`).join('; ');
  const advice = 'Use a database that knows these commands, and a token that may use them.';
  const commands =
    failed.length === 0 ? good('commands', needed.join(', ')) : bad('commands', faults, advice);
  return [commands, copyCheck(results)];
}

function copyCheck(results: ReadonlyMap<string, string>): DoctorCheck {
  const isWhole = ['DUMP', 'RESTORE'].every((name) => results.get(name) === 'ok');
  if (isWhole) return good('copy', 'DUMP and RESTORE');
  return good('copy', 'without DUMP and RESTORE: element by element, which is slower');
}

function isOne(result: CommandResult): boolean {
  return result.kind === 'answered' && Number(result.reply) === 1;
}
