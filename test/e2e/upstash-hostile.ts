/** Random hostile requests of the Upstash dialect. */
import type { Random } from '../simulation/random.ts';
import { randomCommand, type UpstashForm } from './upstash-forms.ts';

/** The statuses of this protocol. Lockstep's own 404 is for addresses that cannot name a command. */
export const statuses = [200, 400, 401, 404, 405, 413];

/** Bytes of every kind: text with a meaning here, halves of it, and noise. */
function hostileBytes(random: Random): Buffer<ArrayBuffer> {
  const pieces = [
    'lockstep:0:state',
    'lockstep:',
    '[["SET","k1"',
    '"',
    '\\udc80',
    '\\',
    ']]',
    '{',
    '\r\n',
    '\0',
    '%',
    '*3\r\n$3\r\nDEL\r\n',
    '__proto__',
    '[',
    '1e999',
    'é',
  ];
  const parts = Array.from({ length: random.between(0, 8) }, () =>
    random.chance(0.3)
      ? Buffer.from(Array.from({ length: random.between(1, 6) }, () => random.between(0, 255)))
      : Buffer.from(random.pick(pieces)),
  );
  return Buffer.concat(parts);
}

/** A path of such bytes, each escaped or not, as far as an HTTP client passes it. */
function hostilePath(random: Random): string {
  const escaped = (bytes: Buffer) =>
    [...bytes].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
  const words = [
    'set',
    'GET',
    'k1',
    '',
    '..',
    '%2e%2e',
    '%',
    'pipeline',
    'multi-exec',
    'del',
    'mget',
    'rename',
    'copy',
    'lockstep:0:lock',
    'lockstep%3A0%3Ameta',
    'LOCKSTEP:',
    'eval',
    'flushall',
    'v1',
    'constructor',
  ];
  const steps = Array.from({ length: random.between(1, 6) }, () =>
    random.chance(0.3) ? escaped(hostileBytes(random)) : random.pick(words),
  );
  const query = random.chance(0.3)
    ? `?${random.pick(['EX=1', '_token=', '=', '&&', 'EX', 'lockstep:0:state=1'])}`
    : '';
  return `/${steps.join('/')}${query}`;
}

/** A good request with something wrong about it, or only noise. */
export function hostileForm(random: Random): UpstashForm {
  const headers: Record<string, string> = random.chance(0.2)
    ? {
        'Upstash-Encoding': random.pick(['base64', 'gzip', '']),
        'Upstash-Response-Format': random.pick(['resp2', 'json', 'x']),
      }
    : {};
  const method = random.pick(['POST', 'POST', 'PUT', 'GET', 'DELETE']);
  const path = random.chance(0.6)
    ? random.pick(['/', '/pipeline', '/multi-exec'])
    : hostilePath(random);
  if (method === 'GET') return { method, path, headers };
  if (random.chance(0.3)) return { method, path, headers, body: hostileBytes(random) };
  const commands = Array.from({ length: random.between(1, 4) }, () => hostileCommand(random));
  const text = JSON.stringify(path === '/' ? commands[0] : commands);
  const cut = random.chance(0.2) ? text.slice(0, random.between(0, text.length)) : text;
  return { method, path, headers, body: cut };
}

function hostileCommand(random: Random): readonly unknown[] {
  const command: unknown[] = [...randomCommand(random)];
  const argument = () =>
    random.pick<unknown>([
      'lockstep:0:state',
      'lockstep:0:lock',
      'lockstep:x',
      '',
      null,
      {},
      [],
      [[]],
      true,
      1e21,
      '\ud800',
      'a\0b',
      '-0',
      '9'.repeat(400),
      'STORE',
      'k1',
    ]);
  if (random.chance(0.7)) command[random.between(0, command.length)] = argument();
  return random.chance(0.2) ? [...command, argument(), argument()] : command;
}
