import fc from 'fast-check';
import type { Script } from './script-oracle.ts';

/**
 * Random small scripts over few keys of all types: commands by call and by pcall, their results kept in variables, tested,
 * joined, caught, raised and returned in many shapes.
 */

const keyNames = ['a', 'b', 'c', 'd{x}', 'ключ'];

const literal = fc.constantFrom(
  ...`'1' '5' '-3' 'x' '' '1.5' 5 0 -1 2.5 1e15 'ü' '\\0\\255' ARGV[1] ARGV[2] #ARGV '10' 3`.split(
    ' ',
  ),
);
const keyText = fc.oneof(
  fc.constantFrom('KEYS[1]', 'KEYS[2]', 'KEYS[1]'),
  fc.constantFrom(...keyNames).map((name) => `'${name}'`),
);
const moment = fc.constantFrom("'5000'", '50000', "'0'", "'x'", '-1');

/** Commands with placeholders: $k a key, $v a literal, $t a moment. */
const templates =
  `'get',$k|'set',$k,$v|'set',$k,$v,'nx'|'set',$k,$v,'ex',$t|'set',$k,$v,'pxat','4000000000000'|'set',$k,$v,'xx','get'
'incr',$k|'incrby',$k,$v|'append',$k,$v|'strlen',$k|'getdel',$k|'getset',$k,$v|'setnx',$k,$v|'setex',$k,$t,$v|'getrange',$k,0,-1
'del',$k|'del',$k,$k|'exists',$k|'type',$k|'expire',$k,$t|'pexpireat',$k,'4000000000000'|'persist',$k|'ttl',$k|'rename',$k,$k
'hset',$k,$v,$v|'hget',$k,$v|'hdel',$k,$v|'hlen',$k|'hincrby',$k,'f',$v|'hexists',$k,$v|'hmget',$k,'f',$v|'hsetnx',$k,'f',$v
'sadd',$k,$v,$v|'srem',$k,$v|'scard',$k|'sismember',$k,$v|'smove',$k,$k,$v|'sinterstore',$k,$k,$k|'sdiffstore',$k,$k,$k
'zadd',$k,$v,$v|'zscore',$k,$v|'zincrby',$k,$v,'m'|'zcard',$k|'zrange',$k,0,-1,'withscores'|'zrem',$k,$v|'zpopmin',$k|'zrank',$k,'m'
'zremrangebyscore',$k,'-inf',$v|'zcount',$k,$v,'+inf'|'zunionstore',$k,2,$k,$k|'zrangebyscore',$k,$v,'+inf'
'lpush',$k,$v|'rpush',$k,$v,$v|'lpop',$k|'rpop',$k,2|'lrange',$k,0,-1|'llen',$k|'lset',$k,0,$v|'linsert',$k,'before',$v,$v|'lmove',$k,$k,'left','right'
'lrem',$k,0,$v|'ltrim',$k,0,1|'lmpop',2,$k,$k,'left'|'setbit',$k,7,1|'bitcount',$k|'copy',$k,$k|'mget',$k,$k|'mset',$k,$v,$k,$v
'xadd',$k,'5-*','f',$v|'xlen',$k|'xrange',$k,'-','+'|'xread','streams',$k,$k,0,0|'sort',$k|'get'|'set',$k|'nothing',$k|'incrbyfloat',$k,$v`.split(
    /[|\n]/,
  );

function filled(template: string): fc.Arbitrary<string> {
  const parts = template.split(/(\$[kvt])/);
  const arbitraries = parts.map((each) => {
    if (each === '$k') return keyText;
    if (each === '$v') return literal;
    return each === '$t' ? moment : fc.constant(each);
  });
  return fc.tuple(...arbitraries).map((words) => words.join(''));
}

const command = fc.constantFrom(...templates).chain(filled);
const called = command.map((words) => `redis.call(${words})`);
const tried = command.map((words) => `redis.pcall(${words})`);
const variable = fc.constantFrom('p', 'q', 'r');
const anyCall = fc.oneof({ weight: 2, arbitrary: called }, { weight: 3, arbitrary: tried });

const statement: fc.Arbitrary<string> = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(variable, anyCall).map(([name, call]) => `${name} = ${call}`) },
  { weight: 2, arbitrary: anyCall },
  fc
    .tuple(variable, called)
    .map(
      ([name, call]) => `local ok, e = pcall(function() return ${call} end) ${name} = { ok, e }`,
    ),
  fc
    .tuple(variable, anyCall, anyCall)
    .map(([name, one, other]) => `if ${name} then ${one} else ${other} end`),
  fc.tuple(variable, anyCall).map(([name, call]) => `for i = 1, 3 do ${name} = ${call} end`),
  fc
    .tuple(keyText, literal)
    .map(
      ([key, value]) =>
        `for _, k in ipairs({${key}, 'c'}) do redis.pcall('rpush', k, ${value}) end`,
    ),
  variable.map((name) => `${name} = { ${name}, #ARGV, { tostring(${name} == nil) } }`),
  variable.map(
    (name) => `if type(${name}) == 'table' and ${name}.err then ${name} = ${name}.err end`,
  ),
  variable.map((name) => `if ${name} == false then ${name} = redis.status_reply('NONE') end`),
  fc.tuple(variable, variable).map(([name, other]) => `${name} = tonumber(${other}) or 7`),
);

const ending: fc.Arbitrary<string> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom('return p', 'return {p, q, r}', 'return q', 'return r', ''),
  },
  { weight: 2, arbitrary: anyCall.map((call) => `return ${call}`) },
  fc.constantFrom(
    "error('stop')",
    // A table without err that is raised ends the process of a plain Redis 7.0.
    "error(type(p) == 'table' and not p.err and 'a table' or p)",
    "return redis.error_reply('OWN words')",
    'return p + q',
    'return p .. q',
    'return #p',
    'return {p and 1 or 0, q == false, nil, r}',
  ),
);

/** Statements and an end, each on a line of its own, so that errors have line numbers. */
const text = fc
  .tuple(fc.array(statement, { minLength: 1, maxLength: 7 }), ending)
  .map(([statements, end]) => ['local p, q, r', ...statements, end].join('\n'));

const script: fc.Arbitrary<Script> = fc.record({
  text,
  keys: fc.tuple(fc.constantFrom(...keyNames), fc.constantFrom(...keyNames)),
  argv: fc.tuple(fc.constantFrom('1', 'v', '20'), fc.constantFrom('2', '', 'zz')),
});

/** Scripts that follow each other on the same keys. */
export const scriptSequences: fc.Arbitrary<readonly Script[]> = fc.array(script, {
  minLength: 1,
  maxLength: 6,
});
