/** A receiver of webhooks that records its requests and verifies signatures by the published library. */
import { createPublicKey, verify } from 'node:crypto';
import {
  createServer,
  type IncomingHttpHeaders,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import type { SigningKey } from '../../shared/contracts/webhooks-and-feed.ts';
import { generateSecret } from '../../shared/webhooks/signature.ts';

/** One received request. */
export interface Received {
  readonly id: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Answers a request, or leaves it hanging. `attempt` counts the requests with its id from 1. */
export type Answerer = (response: ServerResponse, received: Received, attempt: number) => void;

/** An endpoint of webhooks on 127.0.0.1. */
export class Receiver {
  readonly secret = generateSecret();
  readonly received: Received[] = [];
  /** May be changed at any time. */
  answer: Answerer = (response) => response.end('thanks');
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const { headers, url: path = '' } = request;
        const body = Buffer.concat(chunks).toString('utf8');
        const received = { id: String(headers['webhook-id']), path, headers, body };
        this.received.push(received);
        this.answer(response, received, this.attempts(received.id));
      });
    });
  }

  static async start(): Promise<Receiver> {
    const receiver = new Receiver();
    await new Promise<void>((resolve) => {
      receiver.#server.listen(0, '127.0.0.1', resolve);
    });
    return receiver;
  }

  get url(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${port}/hooks`;
  }

  /** The ids in the order of their arrival. */
  get ids(): readonly string[] {
    return this.received.map(({ id }) => id);
  }

  /** The number of requests with this id. */
  attempts(id: string): number {
    return this.ids.filter((each) => each === id).length;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => {
      this.#server.close(resolve);
    });
  }
}

/** The body, checked by the published library under `secret`. Throws if no signature is right. */
export function verified({ headers, body }: Received, secret: string): unknown {
  return new Webhook(secret).verify(body, signatureHeaders(headers));
}

/** Whether one of the `v1a` signatures is right under the public key. */
export function isSignedBy({ headers, body }: Received, key: SigningKey): boolean {
  const own = signatureHeaders(headers);
  const content = `${own['webhook-id']}.${own['webhook-timestamp']}.${body}`;
  const publicKey = createPublicKey({ key: JSON.parse(key.publicKey), format: 'jwk' });
  return own['webhook-signature']
    .split(' ')
    .map((signature) => signature.split(','))
    .filter(([version]) => version === 'v1a')
    .some(([, text = '']) =>
      verify(null, Buffer.from(content), publicKey, Buffer.from(text, 'base64')),
    );
}

function signatureHeaders(headers: IncomingHttpHeaders) {
  return {
    'webhook-id': String(headers['webhook-id']),
    'webhook-timestamp': String(headers['webhook-timestamp']),
    'webhook-signature': String(headers['webhook-signature']),
  };
}
