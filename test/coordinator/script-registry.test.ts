import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ScriptRegistry } from '../../functions/coordinator/script-registry.ts';
import { ScriptStorage } from '../../functions/coordinator/storage/script-storage.ts';
import { sha1Of } from '../../functions/platform/sha1.ts';
import { textWithBytes } from '../../shared/commands/raw-bytes.ts';
import { limits } from '../../shared/limits.ts';
import { decided } from '../edge/fakes.ts';
import { requestOf } from './requests.ts';
import { MemoryStorage } from './sqlite.ts';

/** A registry over `memory`, as an instance of a coordinator has it. */
function begun(memory = new MemoryStorage()) {
  const scripts = new ScriptStorage(memory);
  scripts.begin();
  let proofs = 0;
  const registry = new ScriptRegistry(scripts, () => {
    proofs += 1;
  });
  return { registry, memory, proofs: () => proofs };
}

/** A script of `bytes` bytes that differs from all others. */
function textOf(number: number, bytes = 0): string {
  return `return ${number}`.padEnd(bytes);
}

describe('the digest of a script', () => {
  it('is that of its bytes, even if they are not valid UTF-8', () => {
    const bytes = Buffer.from([0x72, 0xff, 0xc3, 0xa9, 0x00, 0x80]);
    for (const each of [bytes, Buffer.from(''), Buffer.from('return "é✓😀"')]) {
      expect(sha1Of(textWithBytes(each))).toBe(createHash('sha1').update(each).digest('hex'));
    }
  });
});

describe('the store of scripts', () => {
  it('keeps scripts of EVAL and SCRIPT LOAD over a restart, including bytes of invalid UTF-8', () => {
    const { registry, memory } = begun();
    const odd = `return "${textWithBytes(Uint8Array.of(0xff, 0x00, 0xc3))}"`;
    const { sha } = registry.evaluated(odd);
    registry.keep([textOf(1)], true);
    const again = begun(memory).registry;
    expect(again.texts([sha, sha1Of(textOf(1)), 'none'])).toEqual([odd, textOf(1), null]);
    expect(again.find(sha)).toEqual(registry.find(sha));
  });

  it('proves ownership before it reports the scripts that it knows', () => {
    const { registry, proofs } = begun();
    registry.known(['none']);
    registry.texts(['none']);
    registry.keep([textOf(1)], true);
    registry.flush();
    registry.judge(requestOf('0-1'), {
      kind: 'refused',
      problem: 'invalid-command',
      detail: '',
      error: 'NO',
    });
    expect(proofs()).toBe(5);
  });

  it('drops the least recently used script of EVAL first', () => {
    const { registry, memory } = begun();
    const shas = Array.from({ length: limits.scriptsKept }, (_, number) =>
      registry.evaluated(textOf(number)),
    ).map(({ sha }) => sha);
    registry.find(shas[0] ?? '');
    const { sha } = registry.evaluated(textOf(-1));
    const expected = [true, false, true, true];
    const asked = [shas[0] ?? '', shas[1] ?? '', shas[2] ?? '', sha];
    expect(registry.known(asked)).toEqual(expected);
    expect(begun(memory).registry.known(asked)).toEqual(expected);
  });

  it('drops as many scripts as a larger one needs', () => {
    const { registry } = begun();
    // The counter added to a script is not kept, but counts in its bound.
    const bytes = limits.scriptBytes - 100;
    const most = Math.floor(limits.scriptBytesKept / bytes);
    const shas = Array.from({ length: most + 1 }, (_, number) =>
      registry.evaluated(textOf(number, bytes)),
    ).map(({ sha }) => sha);
    expect(registry.known(shas)).toEqual(shas.map((_, index) => index > 0));
  });

  it('takes no more than its bound by SCRIPT LOAD, and then nothing by EVAL either', () => {
    const { registry } = begun();
    const texts = Array.from({ length: limits.scriptsKept }, (_, number) => textOf(number));
    registry.evaluated('return "by EVAL"');
    expect(new Set(registry.keep(texts, true))).toEqual(new Set(['kept']));
    expect(registry.keep([textOf(-1), textOf(0)], true)).toEqual(['full', 'kept']);
    const { sha } = registry.evaluated(textOf(-2));
    expect(registry.known([sha, sha1Of('return "by EVAL"')])).toEqual([false, false]);
    registry.flush();
    expect(registry.keep([textOf(-1)], true)).toEqual(['kept']);
  });

  it('keeps a script that EVAL brought and SCRIPT LOAD repeats, also after a later EVAL', () => {
    const { registry, memory } = begun();
    const { sha } = registry.evaluated(textOf(1));
    registry.keep([textOf(1)], true);
    registry.evaluated(textOf(1));
    for (let number = 2; number < limits.scriptsKept + 9; number += 1) {
      registry.evaluated(textOf(number));
    }
    expect(begun(memory).registry.known([sha])).toEqual([true]);
  });

  it('forgets all scripts when it is flushed', () => {
    const { registry, memory } = begun();
    const { sha } = registry.evaluated(textOf(1));
    registry.flush();
    expect([registry.find(sha), begun(memory).registry.find(sha)]).toEqual([null, null]);
  });

  it('keeps no script that a region cannot run', () => {
    const { registry } = begun();
    expect(registry.known([registry.evaluated('\x1bLua').sha])).toEqual([false]);
  });

  it.each([
    ['alone', [['EVAL', 'bad(', '0']], '[2,0,"ERR Error compiling script (new function): x"]'],
    [
      'among others',
      [
        ['GET', 'k'],
        ['eval', 'bad(', '0'],
        ['EVAL', 'return 1', '0'],
      ],
      '[0,null,{"e":"ERR Error compiling script (new function): x"},1]',
    ],
    [
      'by its first line',
      [['EVAL', 'bad(', '0']],
      '[2,0,"ERR Unexpected flag in script shebang: x"]',
    ],
  ])('drops a script that a region could not compile, %s', (_name, ops, part) => {
    const { registry } = begun();
    const shas = ['bad(', 'return 1'].map((text) => registry.evaluated(text).sha);
    const outcome = part.startsWith('[0') ? 'committed' : 'rejected';
    const request = { ...requestOf('0-1', ...ops), continueOnError: outcome === 'committed' };
    registry.judge(request, decided({ part, outcome }));
    expect(registry.known(shas)).toEqual([false, true]);
  });
});
