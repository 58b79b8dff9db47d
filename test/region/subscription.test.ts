/** Tests how a client opens a region's stream of messages. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { subscribeIn } from '../../functions/region/subscribe.ts';

const stream = { 'content-type': 'text/event-stream' };
const subscription = { kind: 'subscribe', names: ['a', 'b/c'] } as const;

describe('a subscription in a region', () => {
  let server: Server;
  let url: string;
  let answer: (response: ServerResponse) => void;
  let asked: string[];
  /** Fulfilled when a connection is closed. */
  let gone: Promise<void>;

  beforeEach(async () => {
    asked = [];
    const left = Promise.withResolvers<void>();
    gone = left.promise;
    server = createServer((request, response) => {
      asked.push(`${request.method} ${request.url} ${request.headers.authorization}`);
      response.once('close', () => left.resolve());
      answer(response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('the server has no port');
    url = `http://127.0.0.1:${address.port}/`;
  });

  afterEach(() => {
    server.closeAllConnections();
    server.close();
  });

  const subscribe = (timeoutMs = 5_000) =>
    subscribeIn({ id: 'here', url, token: 'secret' }, subscription, timeoutMs);

  it('is open with the first chunk from the region, and continues', async () => {
    answer = (response) => response.writeHead(200, stream).write('data: subscribe,a,1\n\n');
    const subscribed = await subscribe();
    if (subscribed.kind !== 'open') throw new Error(subscribed.reason);
    expect(new TextDecoder().decode(subscribed.first)).toBe('data: subscribe,a,1\n\n');
    expect(asked).toEqual(['POST /subscribe/a/b%2Fc Bearer secret']);
    await subscribed.rest.cancel();
    await gone;
  });

  it.each([
    ['an error', 400, {}, '{"error":"ERR no"}', 'it answered 400: {"error":"ERR no"}'],
    ['no stream', 200, {}, '{"result":"a value"}', 'it answered 200: no stream'],
    ['another address', 302, { location: '/elsewhere' }, '', 'it answered 302: '],
    ['the end at once', 200, stream, '', 'it ended the stream at once'],
  ])('is not open if the region answers %s', async (_name, status, headers, body, reason) => {
    answer = (response) => void response.writeHead(status, headers).end(body);
    expect(await subscribe()).toEqual({ kind: 'silent', reason });
    expect(asked).toHaveLength(1);
  });

  it.each([
    ['nothing', () => {}],
    [
      'a head and no more',
      (response: ServerResponse) => response.writeHead(200, stream).flushHeaders(),
    ],
  ])('is given up if the region sends %s in time', async (_name, say) => {
    answer = say;
    expect(await subscribe(50)).toEqual({ kind: 'silent', reason: 'no answer in time' });
    await gone;
  });

  it('is not open if the connection breaks, and the error contains no token', async () => {
    answer = (response) => response.destroy();
    const subscribed = await subscribe();
    expect(subscribed).toMatchObject({
      kind: 'silent',
      reason: expect.stringMatching(/^the request failed/),
    });
    expect(JSON.stringify(subscribed)).not.toContain('secret');
  });
});
