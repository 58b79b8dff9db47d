/** Makes sure that tests have a real Redis. */
import { spawnSync } from 'node:child_process';
import process from 'node:process';
import { redisKind } from './regions.ts';

/**
 * Makes sure that a real Redis is on the PATH, since the tests depend on its behaviour. Installs one if that needs no
 * question: by apt, as root. Otherwise prints how to install one, and returns false.
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
    // Keeps the package from starting a server on the machine: only the program is needed.
    RUNLEVEL: '1',
  };
  const run = (...args: readonly string[]) =>
    spawnSync('apt-get', args, { env: environment, stdio: ['ignore', 'ignore', 'inherit'] });
  // If the package lists are fresh enough, a failed update does not matter.
  run('update', '-q');
  run('install', '-q', '-y', '--no-install-recommends', 'redis-server');
}
