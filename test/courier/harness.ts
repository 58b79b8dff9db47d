/** Runs couriers under workerd, without the rest of Lockstep, and inspects their storage. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { build } from 'vite';
import { projectDirectory, workerdProgram } from '../../local/stack/bundle.ts';
import { freePort } from '../../local/stack/free-port.ts';
import { lastLines, type OwnProcess, startProcess } from '../../local/stack/processes.ts';
import type {
  CourierApi,
  Handover,
  OutboxEvent,
} from '../../shared/contracts/webhooks-and-feed.ts';
import { newSigningKey } from './keys.ts';
import type { Receiver } from './receiver.ts';

/**
 * The time within which a condition has to hold. It is no claim about speed: it only ends a test that would never
 * end.
 */
export const patience = { timeout: 120_000, interval: 20 } as const;

/** Four attempts in quick succession, none of which may hang for long. */
export const variables = {
  LOCKSTEP_ALLOW_LOOPBACK_WEBHOOKS: 'true',
  LOCKSTEP_DELIVERY_TIMEOUT_MS: '500',
  LOCKSTEP_DELIVERY_PAUSES_MS: '0,20,20,20',
} as const;

/** Couriers under workerd, without the rest of Lockstep. */
export class CourierHarness {
  readonly signingKey = newSigningKey();
  private readonly directory: string;
  private readonly port: number;
  private workerd: OwnProcess | null = null;

  private constructor(directory: string, port: number) {
    this.directory = directory;
    this.port = port;
  }

  /** `variables` are those of the Worker, by name. */
  static async start(variables: Readonly<Record<string, string>>): Promise<CourierHarness> {
    const directory = mkdtempSync(join(tmpdir(), 'lockstep-courier-'));
    const harness = new CourierHarness(directory, await freePort());
    mkdirSync(join(directory, 'storage'));
    await bundle(directory);
    writeFileSync(join(directory, 'courier.capnp'), configurationText(harness.port, variables));
    await harness.restart();
    return harness;
  }

  /** Starts the runtime, on the storage of an earlier life. */
  async restart(): Promise<void> {
    const logFile = join(this.directory, 'worker.log');
    this.workerd = startProcess({
      name: 'courier',
      command: workerdProgram(),
      args: ['serve', join(this.directory, 'courier.capnp')],
      workingDirectory: this.directory,
      stateDirectory: this.directory,
      logFile,
    });
    const url = `http://127.0.0.1:${this.port}/`;
    while ((await fetch(url).catch(() => null))?.ok !== true) {
      if (!this.workerd.isRunning) throw new Error(`workerd has ended:\n${lastLines(logFile)}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    await this.workerd?.kill();
  }

  async stop(): Promise<void> {
    await this.workerd?.stop();
    rmSync(this.directory, { recursive: true });
  }

  /** The tables of each courier that stores anything. */
  storedTables(): readonly (readonly string[])[] {
    const stored = join(this.directory, 'storage', 'courier');
    const files = readdirSync(stored).filter((file) => file.endsWith('.sqlite'));
    const tables = files.map((file) => {
      const database = new DatabaseSync(join(stored, file), { readOnly: true });
      try {
        const rows = database
          .prepare(`SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '_cf_*'`)
          .all();
        return rows.map(({ name }) => String(name));
      } finally {
        database.close();
      }
    });
    return tables.filter((names) => names.length > 0);
  }

  /** Runs a statement on the tables of each courier that stores anything. The runtime has to be dead. */
  change(statement: string): void {
    const stored = join(this.directory, 'storage', 'courier');
    for (const file of readdirSync(stored).filter((name) => name.endsWith('.sqlite'))) {
      const database = new DatabaseSync(join(stored, file));
      const tables = database.prepare("SELECT 1 FROM sqlite_master WHERE name = 'endpoint'").all();
      if (tables.length > 0) database.exec(statement);
      database.close();
    }
  }

  /** The log of the runtime. */
  get log(): string {
    return readFileSync(join(this.directory, 'worker.log'), 'utf8');
  }

  /** Calls the courier of this name, and rejects with its error. */
  async call<Method extends keyof CourierApi>(
    name: string,
    method: Method,
    ...values: Parameters<CourierApi[Method]>
  ): Promise<Awaited<ReturnType<CourierApi[Method]>>> {
    const response = await fetch(`http://127.0.0.1:${this.port}/call`, {
      method: 'POST',
      body: JSON.stringify({ name, method, arguments: values }),
    });
    const result: { readonly answer?: unknown; readonly error?: string } = JSON.parse(
      await response.text(),
    );
    if (result.error !== undefined) throw new Error(result.error);
    return result.answer as Awaited<ReturnType<CourierApi[Method]>>;
  }

  /** The reasons that the coordinator got, by endpoint. */
  async reports(): Promise<Readonly<Record<string, string>>> {
    const response = await fetch(`http://127.0.0.1:${this.port}/reports`);
    return JSON.parse(await response.text());
  }

  /** The rows that a courier has written since the runtime started, as the platform bills them. */
  async rowsWritten(name: string): Promise<number> {
    const response = await fetch(`http://127.0.0.1:${this.port}/rows/${name}`);
    return response.json() as Promise<number>;
  }

  /** Hands these events over to the courier of callbacks to `receiver`, which may wait `holdMs` before it stores them. */
  deliver(
    name: string,
    receiver: Receiver,
    ids: readonly string[],
    holdMs = 0,
  ): Promise<{ readonly restMs: number }> {
    return this.call(name, 'deliver', name, {
      ...this.handover(name, receiver, ids),
      holdMs,
    });
  }

  handover(name: string, receiver: Receiver, ids: readonly string[]): Handover {
    return {
      target: { url: receiver.url, secret: receiver.secret },
      signingKey: this.signingKey,
      events: ids.map((id) => eventOf(name, id)),
    };
  }

  /** The log's newest page. */
  async deliveries(name: string) {
    const page = await this.call(name, 'deliveries', { state: null, before: null, limit: 100 });
    return page.deliveries;
  }

  /** The states of these events, undefined for an event that is not in the log. */
  async states(name: string, ids: readonly string[]) {
    const all = await this.deliveries(name);
    return ids.map((id) => all.find(({ event }) => event === id)?.state);
  }
}

function eventOf(endpoint: string, id: string): OutboxEvent {
  return {
    endpoint,
    id,
    type: 'write.committed',
    at: 1_800_000_000_000,
    body: JSON.stringify({ type: 'write.committed', data: { id } }),
  };
}

async function bundle(directory: string): Promise<void> {
  await build({
    configFile: false,
    logLevel: 'error',
    build: {
      outDir: directory,
      emptyOutDir: false,
      target: 'esnext',
      minify: false,
      lib: {
        entry: join(projectDirectory, 'test', 'courier', 'worker.ts'),
        formats: ['es'],
        fileName: () => 'worker.js',
      },
      rolldownOptions: { external: ['cloudflare:workers'] },
    },
  });
}

function configurationText(port: number, variables: Readonly<Record<string, string>>): string {
  const toml = readFileSync(join(projectDirectory, 'wrangler.toml'), 'utf8');
  const date = /^compatibility_date = "([\d-]+)"$/m.exec(toml)?.[1] ?? '';
  const bindings = Object.entries(variables).map(
    ([name, value]) => `(name = "${name}", text = "${value}"),`,
  );
  return `using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "worker", worker = .worker),
    (name = "storage", disk = (path = "storage", writable = true)),
    (name = "internet", network = (allow = ["public", "private"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "worker")],
);

const worker :Workerd.Worker = (
  compatibilityDate = "${date}",
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  bindings = [
    (name = "COURIER", durableObjectNamespace = "CountedCourier"),
    (name = "COORDINATOR", durableObjectNamespace = "CoordinatorFake"),
    ${bindings.join('\n    ')}
  ],
  durableObjectNamespaces = [
    (className = "CountedCourier", uniqueKey = "courier", enableSql = true),
    (className = "CoordinatorFake", uniqueKey = "coordinator", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "storage"),
);
`;
}
