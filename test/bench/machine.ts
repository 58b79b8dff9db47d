/** The machine and the versions with which a benchmark ran. */
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';
import process from 'node:process';
import { redisKind } from '../../local/stack/regions.ts';

/** Facts without which figures mean little. */
export interface Machine {
  /** The processor, the cores and the memory. */
  readonly machine: string;
  /** The load average of the last minute before the benchmark began. */
  readonly load: number;
  readonly versions: Readonly<Record<string, string>>;
}

/** Describes this machine. Call it before a benchmark begins, for the load of others. */
export function thisMachine(): Machine {
  const model = cpus()[0]?.model.trim() ?? 'an unknown processor';
  const gigabytes = Math.round(totalmem() / 1_000_000_000);
  const require = createRequire(import.meta.url);
  const workerd: { readonly version: string } = createRequire(require.resolve('wrangler'))(
    'workerd/package.json',
  );
  const etcd = versionOf('etcd', /^etcd Version: (\S+)/m);
  return {
    machine: `${model}, ${availableParallelism()} cores, ${gigabytes} GB`,
    load: loadavg()[0] ?? 0,
    versions: {
      'Node.js': process.version.slice(1),
      workerd: workerd.version,
      Redis: versionOf(redisKind(), /v=(\S+)/) ?? 'none',
      ...(etcd === null ? {} : { etcd }),
    },
  };
}

/** The machine and the versions in one line. */
export function describe({ machine, load, versions }: Machine): string {
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return `${machine}; load average ${load.toFixed(1)}; ${programs.join(', ')}`;
}

function versionOf(program: string, pattern: RegExp): string | null {
  const { stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' });
  return pattern.exec(stdout ?? '')?.[1] ?? null;
}
