/** Checks of the server's Lua dialect, and of the REST layer in front of it. */
import { bad, type CommandRunner, type DoctorCheck, doubtful, good, reasonOf } from './check.ts';

/** Two keys in different slots of a cluster. */
const apart = ['lockstep:doctor:a', 'lockstep:doctor:b'];

/** The features of Redis' Lua 5.1 that users' scripts and rounds rely on. Returns the names of the missing ones. */
const dialect = `local failed = {}
local function try(name, body)
  local ok, holds = pcall(body)
  if not (ok and holds) then failed[#failed + 1] = name end
end
local many = {}
for index = 1, 4000 do many[index] = KEYS[1] end
try('raw bytes through cjson', function() return cjson.decode('["\\128\\255"]')[1] == '\\128\\255' end)
try('unpack of 4,000', function() return select('#', unpack(many)) == 4000 end)
try('a command of 4,000 keys', function() return redis.call('EXISTS', unpack(many)) == 0 end)
try('loadstring', function() return loadstring('return ...')(7) == 7 end)
try('goto as a name', function() return loadstring('local goto = 7 return goto')() == 7 end)
try('%.0f', function() return string.format('%.0f', 9007199254740992) == '9007199254740992' end)
try('classes of bytes', function() return string.gsub('a\\195\\169', '[\\194\\195][\\128-\\191]', 'e') == 'ae' end)
try('coroutines', function() return coroutine.wrap(function() return 7 end)() == 7 end)
try('sha1hex', function() return #redis.sha1hex('') == 40 end)
try('bit', function() return bit.band(7, 3) == 3 end)
try('struct', function() return struct.unpack('>I2', struct.pack('>I2', 258)) == 258 end)
try('cmsgpack', function() return cmsgpack.unpack(cmsgpack.pack(7)) == 7 end)
return failed`;

/** Features that only some users' scripts need. */
const optional: ReadonlySet<unknown> = new Set(['bit', 'struct', 'cmsgpack']);

/** Checks that rounds can run on this server, and that replies arrive unaltered. `runId` is part of the keys' names. */
export async function dialectChecks(
  run: CommandRunner,
  runId: string,
): Promise<readonly DoctorCheck[]> {
  const key = (name: string) => `lockstep:doctor:{${runId}}:${name}`;
  return [
    await clusterCheck(run),
    await undeclaredCheck(run, key('a')),
    await luaCheck(run, key('a')),
    await repliesCheck(run, key('n')),
  ];
}

async function clusterCheck(run: CommandRunner): Promise<DoctorCheck> {
  const name = 'cluster';
  const advice =
    'Use a database without cluster mode (not ElastiCache Serverless or MemoryDB): a round is one script over keys of any slot.';
  const info = await run('INFO', 'cluster');
  const isCluster = info.kind === 'answered' && /cluster_enabled:1/.test(String(info.reply));
  if (isCluster) return bad(name, 'cluster mode', advice);
  const result = await run('EVAL', 'return 1', '2', ...apart);
  if (result.kind === 'answered') return good(name, 'keys of any slot in one script');
  return bad(name, reasonOf(result), advice);
}

async function undeclaredCheck(run: CommandRunner, key: string): Promise<DoctorCheck> {
  const name = 'undeclared keys';
  const text = "return redis.call('EXISTS', KEYS[1] .. ':undeclared')";
  const result = await run('EVAL', text, '1', key);
  if (result.kind === 'answered' && Number(result.reply) === 0) return good(name, 'allowed');
  const advice =
    'Let scripts touch keys that they do not declare: on Dragonfly by `--default_lua_flags=allow-undeclared-keys`.';
  return bad(name, reasonOf(result), advice);
}

async function luaCheck(run: CommandRunner, key: string): Promise<DoctorCheck> {
  const name = 'Lua';
  const result = await run('EVAL', dialect, '1', key);
  const advice =
    'Use a database with the Lua of Redis (5.1): on this one, rounds fail or return different results than in the other regions.';
  if (result.kind !== 'answered' || !Array.isArray(result.reply)) {
    return bad(name, reasonOf(result), advice);
  }
  const failed: readonly unknown[] = result.reply;
  if (failed.length === 0) return good(name, 'as in Redis');
  const found = `it lacks ${failed.join(', ')}`;
  if (!failed.every((each) => optional.has(each))) return bad(name, found, advice);
  const less = 'Nothing, if no user script uses these libraries.';
  return doubtful(name, found, less);
}

/** 2^53 + 1, which loses its last digit in any layer that reads numbers as doubles. */
const large = '9007199254740993';

/** Checks that the REST layer preserves nils, errors within arrays, bytes, and 64-bit integers. */
async function repliesCheck(run: CommandRunner, key: string): Promise<DoctorCheck> {
  const lost: string[] = [];
  const nils = await run('EVAL', "return {1, false, 'x'}", '0');
  if (textOf(nils) !== '[1,null,"x"]') lost.push('nils within arrays');
  const nested = await run('EVAL', "return {1, {false, {'x', {}}}}", '0');
  if (textOf(nested) !== '[1,[null,["x",[]]]]') lost.push('arrays within arrays');
  const error = await run('EVAL', "return {err = 'ERR of the doctor'}", '0');
  if (error.kind !== 'error' || !error.message.includes('ERR of the doctor')) lost.push('errors');
  // Any representation will do, as long as the error does not pass for a value.
  const within = await run('EVAL', "return {1, {err = 'ERR of the doctor'}}", '0');
  const isReported = textOf(within)?.includes('ERR of the doctor') ?? true;
  if (!isReported) lost.push('errors within arrays');
  const bytes = await run('EVAL', "return '\\195\\169\\0\\034'", '0');
  if (bytes.kind !== 'answered' || bytes.reply !== 'é\0"') lost.push('bytes');
  await run('SET', key, '9007199254740992', 'PX', '60000');
  const integer = await run('INCR', key);
  if (integer.kind !== 'answered' || String(integer.reply) !== large) lost.push('64-bit integers');
  await run('DEL', key);
  if (lost.length === 0) return good('REST replies', 'nothing is lost');
  const advice =
    'Use another REST endpoint for this database: reads of this region lose the same values, and votes may differ.';
  return bad('REST replies', `lost: ${lost.join(', ')}`, advice);
}

function textOf(result: Awaited<ReturnType<CommandRunner>>): string | null {
  if (result.kind !== 'answered') return null;
  return JSON.stringify(result.reply, (_, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value,
  );
}
