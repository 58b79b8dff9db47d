/** A stream of server-sent events, as its client reads it. */
export class Listener {
  readonly response: Response;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #abort: AbortController;
  #rest = '';

  private constructor(response: Response, abort: AbortController) {
    if (response.body === null) throw new Error('the response has no body');
    this.response = response;
    this.#reader = response.body.getReader();
    this.#abort = abort;
  }

  /** Opens the stream, with any status. */
  static async open(
    endpoint: { readonly url: string; readonly token: string },
    path: string,
    method: 'GET' | 'POST' = 'POST',
  ): Promise<Listener> {
    const abort = new AbortController();
    const response = await fetch(`${endpoint.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${endpoint.token}`, accept: 'text/event-stream' },
      signal: abort.signal,
      ...(method === 'POST' ? { body: '[]' } : {}),
    });
    return new Listener(response, abort);
  }

  /** The next `count` lines of data, without comments and ends of events; fewer if the stream ends before. */
  async lines(count: number): Promise<readonly string[]> {
    const found: string[] = [];
    while (found.length < count) {
      const at = this.#rest.indexOf('\n');
      if (at < 0) {
        const { done, value } = await this.#reader.read();
        if (done) return found;
        this.#rest += Buffer.from(value).toString('utf8');
        continue;
      }
      const line = this.#rest.slice(0, at);
      this.#rest = this.#rest.slice(at + 1);
      if (line.startsWith('data:')) found.push(line);
    }
    return found;
  }

  /** Resolves once the other side has ended the stream, or broken it. */
  async ended(): Promise<void> {
    try {
      while (!(await this.#reader.read()).done);
    } catch {
      // The connection broke.
    }
  }

  /** Leaves, like a client that is closed. */
  leave(): void {
    this.#abort.abort();
  }
}
