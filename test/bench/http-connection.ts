/**
 * A minimal client of HTTP/1.1 over one connection. Clients of a benchmark run beside the servers, on the same cores:
 * `fetch` costs several times the CPU of a request here, and would hide the servers' own.
 */
import { connect, type Socket } from 'node:net';

/** The status and the body of a response. */
export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

interface Pending {
  readonly resolve: (answer: HttpAnswer) => void;
  readonly reject: (error: Error) => void;
}

const headEnd = '\r\n\r\n';

/** One connection, with one request at a time. */
export class HttpConnection {
  private readonly port: number;
  private socket: Socket | null = null;
  private received: Buffer = Buffer.alloc(0);
  private pending: Pending | null = null;

  /** A connection to 127.0.0.1, which is opened by its first request, and again by the first one after it broke. */
  constructor(port: number) {
    this.port = port;
  }

  /**
   * Sends a request, and resolves with its response.
   *
   * @throws Error if the connection ends first, or if the response has no `content-length`.
   */
  async post(path: string, body: string, token?: string): Promise<HttpAnswer> {
    if (this.pending !== null) throw new Error('a connection carries one request at a time');
    const authorization = token === undefined ? '' : `authorization: Bearer ${token}\r\n`;
    const head = `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n${authorization}content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}`;
    const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>();
    this.pending = { resolve, reject };
    this.opened().write(head + headEnd + body);
    return promise;
  }

  close(): void {
    this.socket?.destroy();
    this.socket = null;
  }

  private opened(): Socket {
    if (this.socket !== null) return this.socket;
    const socket = connect({ port: this.port, host: '127.0.0.1', noDelay: true });
    this.received = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => this.receive(chunk));
    // `close` follows each error.
    socket.on('error', () => {});
    socket.once('close', () => this.lost(socket));
    this.socket = socket;
    return socket;
  }

  private lost(socket: Socket): void {
    if (this.socket !== socket) return;
    this.socket = null;
    this.take()?.reject(new Error('the connection ended without a response'));
  }

  private receive(chunk: Buffer): void {
    this.received = this.received.length === 0 ? chunk : Buffer.concat([this.received, chunk]);
    const end = this.received.indexOf(headEnd);
    if (end < 0) return;
    const head = this.received.toString('latin1', 0, end);
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? Number.NaN);
    if (Number.isNaN(length)) {
      this.take()?.reject(new Error(`a response without content-length: ${head.slice(0, 200)}`));
      this.close();
      return;
    }
    const from = end + headEnd.length;
    if (this.received.length < from + length) return;
    const body = this.received.toString('utf8', from, from + length);
    this.received = Buffer.alloc(0);
    this.take()?.resolve({ status: Number(head.slice(9, 12)), body });
  }

  private take(): Pending | null {
    const { pending } = this;
    this.pending = null;
    return pending;
  }
}
