import { connect, createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { startDelayingProxy } from './peers/delaying-proxy.ts';

describe('a delaying proxy', () => {
  it('passes all bytes on in their order, in both directions, and shows the first ones', async () => {
    const echo = createServer((socket) => socket.pipe(socket));
    const listening = Promise.withResolvers<void>();
    echo.listen(0, '127.0.0.1', listening.resolve);
    await listening.promise;
    const address = echo.address();
    const targetPort = typeof address === 'object' && address !== null ? address.port : 0;
    const firsts: string[] = [];
    const proxy = await startDelayingProxy({
      targetPort,
      roundTripMsOf: (first) => {
        firsts.push(first.toString().slice(0, 5));
        return 20;
      },
    });
    const sent = Array.from({ length: 200 }, (_, number) => `hello ${number}\n`);
    const received = Promise.withResolvers<string>();
    const client = connect(proxy.port, '127.0.0.1');
    let text = '';
    client.on('data', (chunk) => {
      text += chunk.toString();
      if (text.length >= sent.join('').length) received.resolve(text);
    });
    for (const line of sent) client.write(line);
    expect(await received.promise).toBe(sent.join(''));
    expect(firsts).toEqual(['hello']);
    const ended = Promise.withResolvers<void>();
    client.once('close', ended.resolve);
    await proxy.close();
    await ended.promise;
    echo.close();
  });
});
