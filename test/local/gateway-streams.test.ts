/** Tests subscriptions at the local gateway. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Gateway, startGateway } from '../../local/gateway/gateway.ts';
import { startEmbedded, startRedisServer, type TestServer } from '../region/servers.ts';
import { Listener } from '../support/stack/listener.ts';

describe.each([
  ['redis-server', startRedisServer],
  ['the embedded server', startEmbedded],
])('a gateway in front of %s', (_name, start) => {
  let server: TestServer;
  let gateway: Gateway;

  beforeAll(async () => {
    server = await start();
    gateway = await startGateway({ redisPort: server.port, token: 'token', roundTripMs: 0 });
    await gateway.ready();
  });

  afterAll(async () => {
    await gateway.close();
    await server.stop();
  });

  it('streams the messages of channels, after a line for each of them', async () => {
    const listener = await Listener.open(gateway, '/subscribe/a/b%20c');
    expect(listener.response.status).toBe(200);
    expect(listener.response.headers.get('content-type')).toBe('text/event-stream');
    expect(await listener.lines(2)).toEqual(['data: subscribe,a,1', 'data: subscribe,b c,2']);
    await server.redis.publish('a', 'one');
    await server.redis.publish('other', 'not this');
    await server.redis.publish('b c', '{"x":1}');
    expect(await listener.lines(2)).toEqual(['data: message,a,one', 'data: message,b c,{"x":1}']);
    listener.leave();
    await expect.poll(() => gateway.streams.size).toBe(0);
  });

  it('streams the messages that match patterns', async () => {
    const listener = await Listener.open(gateway, '/PSUBSCRIBE/n%2A', 'GET');
    expect(await listener.lines(1)).toEqual(['data: psubscribe,n*,1']);
    await server.redis.publish('news', 'one');
    expect(await listener.lines(1)).toEqual(['data: pmessage,n*,news,one']);
    listener.leave();
  });

  it('encodes line ends, so that a message cannot forge another one', async () => {
    const listener = await Listener.open(gateway, '/subscribe/a');
    await listener.lines(1);
    await server.redis.publish('a', 'x\ndata: message,b,forged\r message,b,forged\r\n\nend');
    await server.redis.publish('a', 'next');
    expect(await listener.lines(6)).toEqual([
      'data: message,a,x',
      'data:data: message,b,forged',
      'data:  message,b,forged',
      'data:',
      'data:end',
      'data: message,a,next',
    ]);
    listener.leave();
  });

  it('ends a stream with the connection to its region', async () => {
    const listener = await Listener.open(gateway, '/subscribe/a');
    await listener.lines(1);
    await gateway.close();
    await listener.ended();
    gateway = await startGateway({ redisPort: server.port, token: 'token', roundTripMs: 0 });
    await gateway.ready();
  });

  it('counts no stream as a request in flight', async () => {
    const listener = await Listener.open(gateway, '/subscribe/a');
    await listener.lines(1);
    await expect.poll(() => gateway.meter.inFlight).toBe(0);
    listener.leave();
    await expect.poll(() => gateway.streams.size).toBe(0);
    expect(gateway.meter.inFlight).toBe(0);
  });

  it.each([
    ['/subscribe', 'POST', 400],
    ['/subscribe/a', 'DELETE', 405],
    ['/monitor', 'POST', 400],
  ])('refuses %s by %s with %i', async (path, method, status) => {
    const headers = { authorization: 'Bearer token' };
    const response = await fetch(`${gateway.url}${path}`, { method, headers });
    expect(response.status).toBe(status);
    expect(await response.json()).toHaveProperty('error');
  });
});
