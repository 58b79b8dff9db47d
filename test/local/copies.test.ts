import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type CopyWatch, watchCopies } from '../../local/playground/copies.ts';

/** A change feed whose events a test sends. */
class FakeFeed {
  readonly requests: IncomingMessage[] = [];
  private readonly open: ServerResponse[] = [];
  private readonly server: Server;

  constructor() {
    this.server = createServer((request, response) => {
      this.requests.push(request);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.flushHeaders();
      this.open.push(response);
    });
  }

  async start(): Promise<string> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    const address = this.server.address();
    if (typeof address !== 'object' || address === null) throw new Error('there is no address');
    return `http://127.0.0.1:${address.port}`;
  }

  /** Resolves when `count` requests have arrived in all. */
  async asked(count: number): Promise<void> {
    await expect.poll(() => this.requests.length).toBeGreaterThanOrEqual(count);
  }

  send(text: string): void {
    this.open.at(-1)?.write(text);
  }

  disconnect(): void {
    this.open.at(-1)?.destroy();
  }

  async stop(): Promise<void> {
    this.server.close();
    this.server.closeAllConnections();
    await once(this.server, 'close');
  }
}

const tokens = { read: 'reader', write: 'writer', admin: 'operator' };
let feed: FakeFeed;
let watch: CopyWatch;
let lines: string[];

beforeEach(async () => {
  feed = new FakeFeed();
  lines = [];
  watch = watchCopies({ url: await feed.start(), tokens }, (line) => lines.push(line));
  await feed.asked(1);
});

afterEach(async () => {
  await watch.stop();
  await feed.stop();
});

function change(sequence: number, event: string): string {
  const member = { region: 'eu-west-1', event, epoch: 2, cause: 'silent', detail: '' };
  const data = JSON.stringify({ sequence, at: '2026-11-30T12:00:01.250Z', member });
  return `id: ${sequence}\nevent: change\ndata: ${data}\n\n`;
}

const copying = '  12:00:01.250  eu-west-1: its missing data are being copied';

describe('the watch for copies', () => {
  it('follows membership changes with the token that only reads', () => {
    const [request] = feed.requests;
    expect(request?.url).toContain('/v1/changes?members=true');
    expect(request?.headers).toMatchObject({
      authorization: 'Bearer reader',
      accept: 'text/event-stream',
    });
  });

  it('shows a line when a copy begins, and none for writes and other membership changes', async () => {
    const write = JSON.stringify({ sequence: 1, at: '2026-11-30T12:00:00.000Z', keys: ['a'] });
    feed.send(`id: 0\n\nid: 1\nevent: change\ndata: ${write}\n\n`);
    feed.send(`${change(2, 'out')}: heartbeat\nid: 2\n\n`);
    feed.send(`${change(3, 'copying')}${change(4, 'returned')}${change(5, 'copying')}`);
    await expect.poll(() => lines).toEqual([copying, copying]);
  });

  it('shows a change that arrives in several pieces', async () => {
    const text = change(3, 'copying');
    for (const piece of [text.slice(0, 20), text.slice(20, 60), text.slice(60)]) feed.send(piece);
    await expect.poll(() => lines).toEqual([copying]);
  });

  it('resumes after the last change when the connection is lost', async () => {
    feed.send(change(7, 'copying'));
    await expect.poll(() => lines).toHaveLength(1);
    feed.disconnect();
    await feed.asked(2);
    expect(feed.requests.at(-1)?.headers['last-event-id']).toBe('7');
    feed.send(change(8, 'copying'));
    await expect.poll(() => lines).toHaveLength(2);
  });

  it('keeps control characters of a region from the terminal', async () => {
    const member = { region: 'eu\u001b[2J', event: 'copying' };
    feed.send(`data: ${JSON.stringify({ at: '2026-11-30T12:00:01.250Z', member })}\n\n`);
    await expect
      .poll(() => lines)
      .toEqual(['  12:00:01.250  eu\\x1b[2J: its missing data are being copied']);
  });
});
