/** Tests how variables and secrets become the configuration, and the message for each mistake. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseConfiguration } from '../../shared/config/configuration.ts';
import { limits } from '../../shared/limits.ts';

const region = { id: 'a', url: 'https://a.example.com', location: [1, 2] };
const writeToken = { token: 'w'.repeat(32), scope: 'write' };
const readToken = { token: 'r'.repeat(32), scope: 'read' };
const environment = {
  LOCKSTEP_REGIONS: JSON.stringify([region]),
  LOCKSTEP_REGION_TOKENS: '{"a":"region-secret"}',
  LOCKSTEP_TOKENS: JSON.stringify([writeToken, readToken]),
};

function withRegions(...regions: readonly unknown[]) {
  return { LOCKSTEP_REGIONS: JSON.stringify(regions) };
}

function withTokens(...tokens: readonly unknown[]) {
  return { LOCKSTEP_TOKENS: JSON.stringify(tokens) };
}

describe('the configuration', () => {
  it('combines regions with their tokens, and applies defaults', () => {
    expect(parseConfiguration(environment)).toEqual({
      ok: true,
      configuration: {
        shards: 1,
        regions: [{ ...region, token: 'region-secret' }],
        tokens: [
          { id: null, ...writeToken, scripts: true },
          { id: null, ...readToken, scripts: false },
        ],
        coordinatorLocation: null,
        voteDeadlineMs: limits.voteDeadlineMs,
        roundTimeoutMs: limits.roundTimeoutMs,
        readTimeoutMs: limits.readTimeoutMs,
        source: null,
        minVoters: 1,
        outAfterMs: limits.outAfterMs,
        retention: {
          keptMs: limits.decisionsKeptMs,
          keptWrites: limits.decisionsKept,
          keptBytes: limits.keptBytesDefault,
          keysKeptMs: limits.keysKeptMsDefault,
        },
      },
    });
  });

  it('allows or forbids scripts per token', () => {
    const tokens = [
      { ...readToken, scripts: true },
      { ...writeToken, scripts: false },
    ];
    expect(
      parseConfiguration({ ...environment, LOCKSTEP_TOKENS: JSON.stringify(tokens) }),
    ).toMatchObject({ configuration: { tokens } });
  });

  it('accepts numbers as text and lists that are already parsed', () => {
    const more = {
      LOCKSTEP_REGIONS: [region],
      LOCKSTEP_VOTE_DEADLINE_MS: '500',
      LOCKSTEP_READ_TIMEOUT_MS: 700,
    };
    expect(parseConfiguration({ ...environment, ...more })).toMatchObject({
      configuration: { voteDeadlineMs: 500, readTimeoutMs: 700 },
    });
  });

  it.each([
    ['no regions', { LOCKSTEP_REGIONS: undefined }, 'LOCKSTEP_REGIONS', 'is not set'],
    ['regions that are not JSON', { LOCKSTEP_REGIONS: '[{' }, 'LOCKSTEP_REGIONS', 'not valid JSON'],
    ['an empty list of regions', withRegions(), 'LOCKSTEP_REGIONS', 'at least one'],
    [
      'too many regions',
      withRegions(
        ...Array.from({ length: limits.regions + 1 }, (_, index) => ({
          ...region,
          id: `a${index}`,
          url: `https://a${index}.example.com`,
        })),
      ),
      'LOCKSTEP_REGIONS',
      'at most 16',
    ],
    [
      'two regions of one name',
      withRegions(region, { ...region, url: 'https://b.example.com' }),
      'LOCKSTEP_REGIONS',
      'unique id',
    ],
    [
      'two regions on one URL',
      withRegions(region, { ...region, id: 'b' }),
      'LOCKSTEP_REGIONS',
      'unique URL',
    ],
    ['a region in capitals', withRegions({ ...region, id: 'A' }), 'LOCKSTEP_REGIONS', '[0].id'],
    [
      'a URL without TLS',
      withRegions({ ...region, url: 'http://a.example.com' }),
      'LOCKSTEP_REGIONS',
      '[0].url',
    ],
    [
      'a URL with a password',
      withRegions({ ...region, url: 'https://u:p@a.example.com' }),
      'LOCKSTEP_REGIONS',
      '[0].url',
    ],
    [
      'coordinates outside the globe',
      withRegions({ ...region, location: [91, 0] }),
      'LOCKSTEP_REGIONS',
      '[0].location',
    ],
    [
      'a region without a token',
      { LOCKSTEP_REGION_TOKENS: '{"b":"x"}' },
      'LOCKSTEP_REGION_TOKENS',
      'every id',
    ],
    [
      'an empty region token',
      { LOCKSTEP_REGION_TOKENS: '{"a":""}' },
      'LOCKSTEP_REGION_TOKENS',
      'not empty',
    ],
    ['no tokens', { LOCKSTEP_TOKENS: '' }, 'LOCKSTEP_TOKENS', 'is not set'],
    [
      'a short token',
      withTokens({ token: 'hunter2', scope: 'write' }, readToken),
      'LOCKSTEP_TOKENS',
      '32 characters',
    ],
    [
      'a token twice',
      withTokens(writeToken, { ...writeToken, scope: 'read' }),
      'LOCKSTEP_TOKENS',
      'once',
    ],
    [
      'an id of a token that is not a word',
      withTokens({ ...writeToken, id: 'a b' }, readToken),
      'LOCKSTEP_TOKENS',
      'letters, digits',
    ],
    [
      'a URL among the hosts of webhooks',
      { LOCKSTEP_WEBHOOK_HOSTS: 'https://example.com' },
      'LOCKSTEP_WEBHOOK_HOSTS',
      'host names',
    ],
    ['no token that writes', withTokens(readToken), 'LOCKSTEP_TOKENS', 'scope write'],
    ['no token that only reads', withTokens(writeToken), 'LOCKSTEP_TOKENS', 'scope read'],
    [
      'tokens as names',
      { LOCKSTEP_TOKENS: '[{"hunter2hunter2":"write"}]' },
      'LOCKSTEP_TOKENS',
      '[0]',
    ],
    [
      'an unknown location',
      { LOCKSTEP_COORDINATOR_LOCATION: 'mars' },
      'LOCKSTEP_COORDINATOR_LOCATION',
      'enam',
    ],
    [
      'a deadline in words',
      { LOCKSTEP_VOTE_DEADLINE_MS: 'soon' },
      'LOCKSTEP_VOTE_DEADLINE_MS',
      'milliseconds',
    ],
    [
      'a deadline past its round',
      { LOCKSTEP_VOTE_DEADLINE_MS: '2500' },
      'LOCKSTEP_ROUND_TIMEOUT_MS',
      'greater',
    ],
  ])(
    'with %s names the variable and the rule, and no secret',
    (_fault, changes, variable, rule) => {
      const result = parseConfiguration({ ...environment, ...changes });
      expect(result).toEqual({ ok: false, variable, detail: expect.stringContaining(rule) });
      expect(JSON.stringify(result)).not.toMatch(/hunter2|region-secret|wwww|rrrr|u:p/);
    },
  );

  it('has the form of .dev.vars.example', () => {
    const example = readFileSync(new URL('../../.dev.vars.example', import.meta.url), 'utf8');
    const secrets = [...example.matchAll(/^(LOCKSTEP_\w+)=(.*)$/gm)].map(([, name, value]) => [
      name,
      value,
    ]);
    const ids = Object.keys(JSON.parse(Object.fromEntries(secrets).LOCKSTEP_REGION_TOKENS));
    const regions = ids.map((id) => ({ ...region, id, url: `https://${id}.example.com` }));
    const result = parseConfiguration({
      ...Object.fromEntries(secrets),
      ...withRegions(...regions),
    });
    // The placeholders have to be refused, so that they cannot go live.
    expect(result).toMatchObject({ ok: false, variable: 'LOCKSTEP_TOKENS' });
  });
});
