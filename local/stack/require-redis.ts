import { spawnSync } from 'node:child_process';
import process from 'node:process';
import { redisKind } from './regions.ts';

/**
 * Makes sure that a real Redis is on the PATH, because the tests are about what one does. Installs it where that needs no
 * question: with apt, as root. Returns false, having said how to, if there is none.
 */
export function requireRedis(): boolean {
  if (redisKind() !== 'embedded') return true;
  if (process.getuid?.() === 0) installWithApt();
  if (redisKind() !== 'embedded') return true;
  console.error(
    'The tests need redis-server or valkey-server: apt-get install redis-server, or brew install redis.',
  );
  return false;
}

function installWithApt(): void {
  console.log('No redis-server on the PATH: installing it with apt-get.');
  const environment = {
    ...process.env,
    DEBIAN_FRONTEND: 'noninteractive',
    // Tells the package not to start a server on the machine: only the program is needed.
    RUNLEVEL: '1',
  };
  const run = (...args: readonly string[]) =>
    spawnSync('apt-get', args, { env: environment, stdio: ['ignore', 'ignore', 'inherit'] });
  // A machine whose lists are fresh enough need not reach every archive that it knows.
  run('update', '-q');
  run('install', '-q', '-y', '--no-install-recommends', 'redis-server');
}
