import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseExact } from '../../../shared/commands/replies.ts';
import type { RegionClient } from '../../../shared/contracts/region-client.ts';
import { connectDirectly, withoutTimeLimit } from '../direct.ts';
import { countedText, roundOf, snapshotOf } from '../fixtures.ts';
import { encodeReply } from '../replies.ts';
import { startRedisServer, type TestServer } from '../servers.ts';
import { normalizeClientReply, normalizeRegionReply } from './redis-oracle.ts';
import { runCountOf } from './run-count.ts';

/**
 * Compares the functions that scripts get with the server's own: random calls in one script, which a plain server
 * runs unchanged.
 */

let server: TestServer;
let client: RegionClient;
/** A region that runs every pattern in Lockstep's own matcher. */
let ownMatcher: RegionClient;

beforeAll(async () => {
  server = await startRedisServer();
  client = connectDirectly(server.redis, withoutTimeLimit);
  const alwaysOwn = (script: string) => {
    const changed = script.replace('if read.isOwn or', 'if true or');
    expect(changed).not.toBe(script);
    return withoutTimeLimit(changed);
  };
  ownMatcher = connectDirectly(server.redis, alwaysOwn);
  await client.round(roundOf({ askOlder: true }), 0);
});

afterAll(() => server?.stop());

async function compare(region: RegionClient, text: string, argv: readonly string[]) {
  const args = ['EVAL_RO', 'sha', countedText(text), '0', ...argv];
  const result = await region.snapshot(snapshotOf([], [{ args, reads: [], reply: null }]), 0);
  if (result.kind !== 'read') throw new Error(JSON.stringify(result));
  const replies = parseExact(encodeReply(result.replies));
  const reply = normalizeRegionReply(Array.isArray(replies) ? replies[0] : replies);
  const plain = await server.redis.callBuffer('EVAL', text, '0', ...argv).catch(String);
  expect(reply, `${text} ${JSON.stringify(argv)}`).toEqual(normalizeClientReply(plain));
}

/** Collects the results or the error of each call. */
const gathering = `
local out = {}
local function shown(value) return tostring(value):gsub('0x%x+', '0x') .. '' end
local function show(isDone, ...)
  local words = { tostring(isDone), tostring(select('#', ...)) }
  for index = 1, select('#', ...) do words[#words + 1] = shown((select(index, ...))) end
  out[#out + 1] = table.concat(words, '\\1')
end
`;

const matching = `${gathering}
for at = 1, #ARGV, 4 do
  local s, p, init, repl = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3]
  show(pcall(function() return string.find(s, p, init) end))
  show(pcall(function() return s:match(p, init) end))
  show(pcall(function() return (string.gsub)(s, p, repl) end))
  show(pcall(function() return s:gsub(p, { a = 'X', ab = 1, [1] = 'one', [''] = false }, 2) end))
  show(pcall(function() return s:gsub(p, function(a, b) return b or a .. '!' end, init) end))
  show(pcall(function()
    local t = {}
    for a, b in s:gmatch(p) do
      t[#t + 1] = tostring(a) .. ':' .. tostring(b)
      if #t > 40 then break end
    end
    return table.concat(t, ',')
  end))
end
return out`;

const item = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('a', 'b', '.', 'c', ' ', '1', '-', '$', '^', ']', '*') },
  {
    weight: 4,
    arbitrary: fc.constantFrom('%a', '%d', '%s', '%w', '%S', '%p', '%.', '%%', '%z', '%-', '%]'),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom('[abc]', '[^a]', '[%w_]', '[a-c]', '[]a]', '[^]]', '[%]-]', '[a-]'),
  },
  { weight: 1, arbitrary: fc.constantFrom('[a', '%', '[', '[^', '[%', '%f', '%b', '%bx') },
  { weight: 2, arbitrary: fc.constantFrom('%b()', '%bab', '%f[%w]', '%f[^a]', '%1', '%2', '%0') },
);
const quantified = fc
  .tuple(item, fc.constantFrom('', '', '', '*', '+', '-', '?', '-', '+'))
  .map((words) => words.join(''));
const piece = fc.oneof(
  { weight: 8, arbitrary: quantified },
  { weight: 3, arbitrary: quantified.map((each) => `(${each})`) },
  { weight: 1, arbitrary: fc.constantFrom('()', '(', ')', '((a)b)', '(a*(b))') },
);
const pattern = fc
  .tuple(
    fc.constantFrom('', '', '^'),
    fc.array(piece, { maxLength: 5 }),
    fc.constantFrom('', '', '$'),
  )
  .map(([head, pieces, end]) => head + pieces.join('') + end);
const subject = fc
  .array(fc.constantFrom('a', 'b', 'c', 'ab', ' ', '1', '(', ')', '-', 'aaa', '\0', 'é', '%'), {
    maxLength: 9,
  })
  .map((words) => words.join(''));
const init = fc.constantFrom('1', '1', '2', '-2', '0', '100', '-100', '1.9');
const replacement = fc.constantFrom('x', '<%0>', '%1', '%2-%1', '%', '%%', '', '%9', 'a%', '%a');
const cases = fc.array(fc.tuple(subject, pattern, init, replacement), {
  minLength: 20,
  maxLength: 20,
});

describe('patterns of scripts', () => {
  it.each([
    ['by the cheaper matcher', () => client],
    ['by Lockstep’s own matcher', () => ownMatcher],
  ])('match as in a plain server: %s', async (_, region) => {
    const property = fc.asyncProperty(cases, (each) => compare(region(), matching, each.flat()));
    await fc.assert(property, runCountOf(150));
  });

  it('match in long texts too', async () => {
    const words = `return { ('x'):rep(400):find('x*y'), #('ab '):rep(9000):gsub('%s+', '_'),
      select(2, ('ab '):rep(9000):gsub('(%w)(%w)%s', '%2%1')), ('a'):rep(3000):match('^(.-)(a*)$') }`;
    await compare(client, words, []);
  });
});

const value = fc.oneof(
  fc.constantFrom(
    "'abc'",
    "''",
    "'5'",
    '5',
    '-1',
    '0',
    '2.7',
    'nil',
    'true',
    '{}',
    "'a\\0b'",
    '100',
  ),
  fc.constantFrom("'%d'", "'%5.2f|%s'", "'%q'", "'%x%%'", "'%s'", "'%'", "'%y'", '-2', '3', "'x'"),
  fc.constantFrom('{3,1,2}', "{'b','a','c'}", '{1,2,nil,4}', "{'a',1,'b'}", '{1,{}}', 'print'),
);
const names =
  `string.sub string.byte string.char string.rep string.format string.upper string.lower string.reverse
string.len string.find string.match string.gsub table.concat table.insert table.remove table.maxn table.getn unpack
cjson.encode cjson.decode cmsgpack.pack struct.pack tostring tonumber rawget rawset select next type math.max bit.band
string.gmatch table.sort table.foreachi struct.size redis.sha1hex redis.error_reply`
    .split(/\s+/)
    .filter((name) => name !== '');
const call = fc
  .tuple(fc.constantFrom(...names), fc.array(value, { maxLength: 4 }))
  .map(([name, values]) => `show(pcall(function() return ${name}(${values.join(', ')}) end))`);
const method = fc
  .tuple(
    fc.constantFrom("'abc'", "('x')", 's', 'n', 't', '("%d"):rep(2)'),
    fc.constantFrom('rep', 'sub', 'len', 'upper', 'byte', 'format', 'find', 'bad', 'reverse'),
    fc.array(value, { maxLength: 3 }),
  )
  .map(
    ([on, name, values]) =>
      `show(pcall(function() return (${on}):${name}(${values.join(', ')}) end))`,
  );
const joining = fc
  .array(fc.constantFrom("'a'", 's', '5', 'n', 'two', '(s .. two)', 'u', 's:rep(2)'), {
    minLength: 2,
    maxLength: 9,
  })
  .map((words) => `show(pcall(function() return ${words.join(' .. ')} end))`);
const lines = fc.array(fc.oneof(call, call, method, joining), { minLength: 10, maxLength: 10 });
const beginning = `${gathering}
local s, two, n, t = 'str', 2, nil, setmetatable({}, { __concat = function(a, b) return type(a) .. type(b) end })
local u = t
`;

describe('functions, methods and operators of scripts', () => {
  it('return and raise the same as in a plain server', async () => {
    const property = fc.asyncProperty(lines, (each) =>
      compare(client, `${beginning}${each.join('\n')}\nreturn out`, []),
    );
    await fc.assert(property, runCountOf(300));
  });
});
