/** Tests the rules that keep webhooks from calling private addresses and Lockstep itself. */
import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { checkTarget, type TargetPolicy, targetPolicyOf } from '../../shared/webhooks/target.ts';

const deployed = { allowLoopback: false, ownHosts: [], allowedHosts: [] };
const development = { ...deployed, allowLoopback: true };

/** The reason of a refusal, or `allowed`. */
function verdict(url: string, policy: TargetPolicy = deployed): string {
  const result = checkTarget(url, policy);
  return result.ok ? 'allowed' : result.reason;
}

describe('a safe target', () => {
  it.each([
    ['https://example.com/hooks?token=1', 'https://example.com/hooks?token=1'],
    ['HTTPS://EXAMPLE.com', 'https://example.com/'],
    ['https://example.com:443/', 'https://example.com/'],
    ['https://example.com:8443/', 'https://example.com:8443/'],
    ['https://example.com./hooks', 'https://example.com./hooks'],
    ['https://bücher.example/', 'https://xn--bcher-kva.example/'],
    ['https://_dmarc.example.com/', 'https://_dmarc.example.com/'],
    ['https://local.example.com/', 'https://local.example.com/'],
    ['https://8.8.8.8/', 'https://8.8.8.8/'],
    ['https://[2606:4700::1111]/', 'https://[2606:4700::1111]/'],
  ])('is %s, which is called as %s', (url, called) => {
    expect(checkTarget(url, deployed)).toEqual({ ok: true, url: called });
  });
});

describe('an unsafe target', () => {
  it.each([
    'http://example.com/',
    'http://8.8.8.8/',
    'http://127.0.0.1:8080/',
    'http://localhost/',
  ])('%s is refused, since it is not encrypted', (url) => {
    expect(verdict(url)).toContain('Use https.');
  });

  it.each([
    ...['ftp://example.com/', 'file:///etc/passwd', 'javascript:alert(1)', 'data:,x', 'ws://a.com'],
    ...['https:example.com', 'https:/example.com', '//example.com', 'example.com', '', 'https://'],
    ...['https://1.2.3.4.5/', 'https://08.0.0.1/', 'https://example.com:65536/'],
    ...['https://[fe80::1%25eth0]/', 'https://[fe80::1%eth0]/', 'https://[::1', 'https://a.0x1/'],
    ...['https://localhost%00.example.com/', 'https://%/'],
  ])('%j is refused, since it cannot be read', (url) => {
    expect(verdict(url)).toContain('cannot be read');
  });

  it.each([
    'https://exam ple.com/',
    ' https://example.com/',
    'https://example.com/\n',
    'https://exa\tmple.com/',
    'https://example.com/\u0000',
    'https:\\\\127.0.0.1\\',
    'https://example.com\\@127.0.0.1/',
    'https://example.com/\u00a0',
  ])('%j is refused, since a parser would hide a part of it', (url) => {
    expect(verdict(url)).toContain('a space, a control character or a backslash');
  });

  it.each([
    // In the usual form.
    ...['127.0.0.1', '127.8.9.10', '10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1'],
    ...['169.254.169.254', '169.254.0.1', '100.64.0.1', '100.100.100.200', '100.127.255.255'],
    ...['0.0.0.0', '0.1.2.3', '255.255.255.255', '224.0.0.1', '239.255.255.255', '240.0.0.1'],
    ...['192.0.0.192', '192.0.2.1', '198.18.0.1', '198.51.100.1', '203.0.113.1', '192.88.99.1'],
    '168.63.129.16',
    // Decimal, octal, hexadecimal, short, percent-encoded, full-width, and with a dot at the end.
    ...['2130706433', '017700000001', '0x7f000001', '0x7F.1', '127.1', '127.0.1', '0177.0.0.1'],
    ...['0', '0x', '0x0', '0xa9fea9fe', '2852039166', '169.254.43518', '0251.0376.0251.0376'],
    ...['%31%32%37.0.0.1', '１２７.０.０.１', '①②⑦.0.0.1', '127。0。0。1', '127.0.0.1.', '10.1.'],
    // IPv6, and IPv4 within it: mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP-like.
    ...['[::1]', '[::]', '[0:0:0:0:0:0:0:1]', '[fe80::1]', '[fc00::1]', '[fd00:ec2::254]'],
    ...['[ff02::1]', '[fec0::1]', '[2001:db8::1]', '[3fff::1]', '[100::1]', '[5f00::1]'],
    ...['[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[0:0:0:0:0:ffff:a9fe:a9fe]', '[::ffff:8.8.8.8]'],
    ...['[::127.0.0.1]', '[::8.8.8.8]', '[::ffff:0:127.0.0.1]', '[64:ff9b::7f00:1]'],
    ...['[64:ff9b::8.8.8.8]', '[64:ff9b:1::a00:1]', '[2002:7f00:1::]', '[2002:a9fe:a9fe::1]'],
    ...['[2001::1]', '[2001:0:4136:e378:8000:63bf:3fff:fdd2]', '[4000::1]', '[fe80::5efe:a00:1]'],
  ])('https://%s is refused, since its address is not public', (host) => {
    expect(verdict(`https://${host}/`)).toContain('is not public');
  });

  it.each([
    ...['localhost', 'LOCALHOST', 'localhost.', 'redis', 'metadata', 'loc\u00adalhost', 'intranet'],
  ])('https://%s is refused, since a single label is no public name', (host) => {
    expect(verdict(`https://${host}/`)).toContain('is no public name');
  });

  it.each([
    ...['a.localhost', 'a.localhost.', 'printer.local', 'metadata.google.internal', 'a.b.internal'],
    ...['metadata.google.internal.', 'metadata.goog', 'host.docker.internal', 'router.home.arpa'],
    ...[
      'server.corp',
      'nas.lan',
      'x.localdomain',
      'METADATA.GOOGLE.INTERNAL',
      'a.INTERNAL',
      'a.onion',
    ],
  ])('https://%s is refused, since its name is private', (host) => {
    expect(verdict(`https://${host}/`)).toContain('is private');
  });

  it.each(['a..b.com', 'example.com..', `${'a'.repeat(64)}.com`, `${'a.'.repeat(127)}com`])(
    'https://%s is refused, since the name is invalid',
    (host) => {
      expect(verdict(`https://${host}/`)).toContain('name is invalid');
    },
  );

  it.each([
    'https://user:secret@example.com/',
    'https://user@example.com/',
    'https://@example.com/',
    'https://:@example.com/',
    'https://example.com@127.0.0.1/',
    'https://example.com%2f@example.org/',
  ])('%s is refused, since it carries credentials', (url) => {
    expect(verdict(url)).toContain('carries credentials');
  });

  it.each(['https://example.com/#', 'https://example.com/?a#b', 'https://example.com#a@b'])(
    '%s is refused, since it has a fragment',
    (url) => {
      expect(verdict(url)).toContain('has a fragment');
    },
  );

  it.each([0, 1, 22, 25, 80, 444, 1_023])('on port %d is refused', (port) => {
    expect(verdict(`https://example.com:${port}/`)).toContain(`Port ${port} is not allowed.`);
  });

  it('is refused if it is one byte too long, and not at the limit', () => {
    const start = 'https://example.com/';
    const longest = start + 'a'.repeat(limits.urlBytes - start.length);
    expect(verdict(longest)).toBe('allowed');
    expect(verdict(`${longest}a`)).toContain('too long');
    expect(verdict(`${longest.slice(0, -1)}ü`)).toContain('too long');
  });

  it('is not repeated with its credentials in the reason', () => {
    expect(verdict('https://user:topsecret@example.com/')).not.toContain('topsecret');
  });
});

describe('development', () => {
  it.each([
    ...[
      'http://127.0.0.1:8080/hooks',
      'http://localhost/',
      'http://localhost:81/',
      'http://[::1]:1/',
    ],
    ...['https://127.0.0.2/', 'http://a.localhost:3000/', 'http://127.1:8080/'],
  ])('allows %s', (url) => {
    expect(verdict(url, development)).toBe('allowed');
  });

  it.each([
    ...[
      'http://example.com/',
      'http://10.0.0.1/',
      'http://169.254.169.254/',
      'http://0.0.0.0:8080/',
    ],
    ...[
      'https://10.0.0.1/',
      'https://redis/',
      'http://127.0.0.1.example.com/',
      'http://[::]:8080/',
    ],
    ...['http://localhost.example.com/', 'http://[::ffff:127.0.0.1]/', 'http://a@127.0.0.1/'],
  ])('still refuses %s', (url) => {
    expect(verdict(url, development)).not.toBe('allowed');
  });

  it('is enabled by exactly one value of one variable', () => {
    const policyWith = (value: unknown) =>
      targetPolicyOf({ LOCKSTEP_ALLOW_LOOPBACK_WEBHOOKS: value });
    expect(policyWith('true')).toEqual(development);
    for (const value of ['', 'TRUE', '1', 'false', undefined, true]) {
      expect(policyWith(value)).toEqual(deployed);
    }
    expect(targetPolicyOf({})).toEqual(deployed);
  });
});

describe('Lockstep itself', () => {
  const policy = { ...deployed, ownHosts: ['lockstep.example.com', 'internal.example.com:8443'] };

  it.each([
    'https://lockstep.example.com/incr/k?_token=t',
    'https://LOCKSTEP.example.com./',
    'https://lockstep.example.com:8443/',
    'https://internal.example.com:8443/',
  ])('is not called: %s', (url) => {
    expect(verdict(url, policy)).toContain('Lockstep itself');
  });

  it.each([
    'https://example.com/',
    'https://internal.example.com/',
    'https://a.lockstep.example.com/',
  ])('is not confused with %s', (url) => {
    expect(verdict(url, policy)).toBe('allowed');
  });

  it('is recognized by every name of this machine', () => {
    const own = { ...development, ownHosts: ['127.0.0.1:8787'] };
    expect(verdict('http://localhost:8787/', own)).toContain('Lockstep itself');
    expect(verdict('http://[::1]:8787/', own)).toContain('Lockstep itself');
    expect(verdict('http://localhost:9000/', own)).toBe('allowed');
  });
});

describe('a list of allowed hosts', () => {
  const policy = targetPolicyOf({ LOCKSTEP_WEBHOOK_HOSTS: 'Hooks.example.com, *.example.org' });

  it.each(['https://hooks.example.com/a', 'https://a.example.org/', 'https://a.b.example.org/'])(
    'lets %s pass',
    (url) => {
      expect(verdict(url, policy)).toBe('allowed');
    },
  );

  it.each(['https://example.com/', 'https://example.org/', 'https://a.hooks.example.com/'])(
    'stops %s',
    (url) => {
      expect(verdict(url, policy)).toContain('LOCKSTEP_WEBHOOK_HOSTS');
    },
  );

  it.each(['https://example.com', 'a b', '*.', '*'])('is refused in the form %s', (text) => {
    expect(() => targetPolicyOf({ LOCKSTEP_WEBHOOK_HOSTS: text })).toThrow('use host names');
  });
});
