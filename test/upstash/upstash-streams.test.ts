/** Tests the requests for streams of the Upstash dialect, and the lines that they show. */
import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { isShown, parseStream, streamPath } from '../../shared/upstash/streams.ts';

describe('a request for a stream', () => {
  it.each([
    ['/subscribe/a/b', { kind: 'subscribe', names: ['a', 'b'] }],
    ['/SubScribe/a%2Fb/?_token=x&a=b', { kind: 'subscribe', names: ['a/b', ''] }],
    ['/psubscribe/news.*', { kind: 'psubscribe', names: ['news.*'] }],
    [
      '/psubscribe/*/_*/__keys/__keychain*',
      { kind: 'psubscribe', names: ['*', '_*', '__keys', '__keychain*'] },
    ],
    ['/subscribe/__keyspace/__key*', { kind: 'subscribe', names: ['__keyspace', '__key*'] }],
    ['/subscribe/%FF/%zz', { kind: 'subscribe', names: ['\udcff', '%zz'] }],
    ['/monitor?_token=x', { kind: 'monitor' }],
    ['/get/subscribe', null],
    ['/subscribes/a', null],
    ['/', null],
  ])('to %s is parsed', (target, expected) => {
    expect(parseStream('POST', target, 'write')).toEqual(expected);
  });

  const refused = [
    ['/subscribe', 'wrong number of arguments'],
    ['/monitor/', 'wrong number of arguments'],
    ['/subscribe/lockstep:channel:a', 'reserved'],
    ['/psubscribe/lockstep:*', 'reserved'],
    ['/subscribe/a/__keyspace@0__:k', 'keyspace notifications .* /v1/changes'],
    ['/subscribe/__keyevent@0__:expired', 'keyspace notifications'],
    ['/subscribe/__keyspace@0__:lockstep:0:lock', 'keyspace notifications'],
    ['/psubscribe/a*/__keyspace@0__:*', 'keyspace notifications'],
    ['/psubscribe/__keyevent@*__:del', 'keyspace notifications'],
    ['/psubscribe/__key*__:*', 'keyspace notifications'],
    ['/psubscribe/__key[se]*', 'keyspace notifications'],
    ['/psubscribe/__keyspac%3F@0__:k', 'keyspace notifications'],
    ['/psubscribe/__keyspace%5C@0__:k', 'keyspace notifications'],
    ['/subscribe/../get/k', 'the channel . or ..'],
    ['/subscribe/%2e%2E/get/k', 'the channel . or ..'],
    ['/psubscribe/a/.', 'the channel . or ..'],
    ['/subscribe/a%0Ab', 'one line'],
    ['/psubscribe/a%0Db', 'one line'],
    [`/subscribe/${'x'.repeat(limits.channelBytes + 1)}`, 'the limit is'],
    [`/subscribe${'/a'.repeat(limits.channelsPerStream + 1)}`, 'too many channels'],
  ] as const;

  it.each(refused.map(([target, words]) => [target.slice(0, 60), words, target] as const))(
    'to %s is refused with "%s"',
    (_title, words, target) => {
      expect(parseStream('GET', target, 'write')).toEqual({
        status: 400,
        error: expect.stringMatching(new RegExp(`^ERR .*${words}`)),
      });
    },
  );

  it('accepts the maximum number of channels of the maximum length', () => {
    const name = 'x'.repeat(limits.channelBytes);
    const asked = parseStream(
      'GET',
      `/subscribe${`/${name}`.repeat(limits.channelsPerStream)}`,
      'read',
    );
    expect(asked).toHaveProperty('names.length', limits.channelsPerStream);
  });

  it('is refused unless it is a GET or a POST', () => {
    for (const method of ['HEAD', 'DELETE', 'PATCH', 'OPTIONS']) {
      expect(parseStream(method, '/subscribe/a', 'write')).toMatchObject({ status: 405 });
    }
  });

  it('to subscribe needs a token that reads, and to monitor one that writes', () => {
    expect(parseStream('GET', '/subscribe/a', 'read')).toMatchObject({ kind: 'subscribe' });
    expect(parseStream('GET', '/monitor', 'read')).toMatchObject({
      error: expect.stringContaining('NOPERM'),
    });
    expect(parseStream('GET', '/monitor', 'admin')).toEqual({ kind: 'monitor' });
  });
});

describe('the path to a region', () => {
  it('encodes every byte of a name, and cannot lead to another path', () => {
    const names = ['a', 'a/../b?c#d', '', '\udcff é', '...', '%2E%2E', '\\..\\', '..;'];
    const path = streamPath('subscribe', names);
    expect(path).toBe(
      '/subscribe/a/a%2F..%2Fb%3Fc%23d//%FF%20%C3%A9/.../%252E%252E/%5C..%5C/..%3B',
    );
    expect(new URL(path, 'http://region').pathname).toBe(path);
  });
});

describe('a line of a region', () => {
  const channels = { kind: 'subscribe', names: ['a', 'b,c'] } as const;
  const patterns = { kind: 'psubscribe', names: ['*', '*,x', 'n*'] } as const;

  it.each([
    'subscribe,a,1',
    'subscribe,b,c,2',
    'message,a,',
    'message,b,c,text',
    'message,a,lockstep:0:meta',
    'message,a,__keyspace@0__:k',
  ])('for a subscriber is shown: %s', (line) => {
    expect(isShown(line, channels)).toBe(true);
  });

  it.each([
    'message,other,text',
    'message,b,text',
    'pmessage,*,a,text',
    'unsubscribe,a,0',
    'anything',
    '',
    'message,__keyevent@0__:set,k',
  ])('for no subscriber is hidden: %s', (line) => {
    expect(isShown(line, channels)).toBe(false);
  });

  it.each([
    'psubscribe,*,1',
    'pmessage,*,news,text',
    'pmessage,*,__keys,text',
    'pmessage,n*,news,lockstep:0:meta',
    'pmessage,n*,news,__keyspace@0__:key,set',
  ])('that matches a pattern is shown: %s', (line) => {
    expect(isShown(line, patterns)).toBe(true);
  });

  it.each([
    'pmessage,*,__keyspace@0__:key,set',
    'pmessage,*,__keyevent@0__:set,key',
    'pmessage,*,x,__keyspace@0__:key,set',
    'pmessage,*,__keyspace@0__:lockstep:0:lock,hset',
    'pmessage,*,__keyevent@0__:hset,lockstep:0:lock',
    'pmessage,*,__keyevent@12__:rename_to,lockstep:0:shadow:1.1:k',
    'pmessage,*,lockstep:channel:a,text',
    'pmessage,*,x,__keyspace@0__:lockstep:0:lock,hset',
    'pmessage,other,news,text',
  ])(
    'that is a keyspace notification, in a reserved channel, or not subscribed to is hidden: %s',
    (line) => {
      expect(isShown(line, patterns)).toBe(false);
    },
  );
});
