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

/** A desk over `memory`, as a coordinator has it in one life. */
function begun(memory = new MemoryStorage()) {
  const scripts = new ScriptStorage(memory);
  scripts.begin();
  let proofs = 0;
  const desk = new ScriptRegistry(scripts, () => {
    proofs += 1;
  });
  return { desk, memory, proofs: () => proofs };
}

/** A script of so many bytes that no other is. */
function textOf(number: number, bytes = 0): string {
  return `return ${number}`.padEnd(bytes);
}

describe('the digest of a script', () => {
  it('is that of its bytes, also where they are no UTF-8', () => {
    const bytes = Buffer.from([0x72, 0xff, 0xc3, 0xa9, 0x00, 0x80]);
    for (const each of [bytes, Buffer.from(''), Buffer.from('return "é✓😀"')]) {
      expect(sha1Of(textWithBytes(each))).toBe(createHash('sha1').update(each).digest('hex'));
    }
  });
});

describe('the store of scripts', () => {
  it('keeps what EVAL and SCRIPT LOAD brought over a restart, bytes that are no text included', () => {
    const { desk, memory } = begun();
    const odd = `return "${textWithBytes(Uint8Array.of(0xff, 0x00, 0xc3))}"`;
    const { sha } = desk.evaluated(odd);
    desk.keep([textOf(1)], true);
    const again = begun(memory).desk;
    expect(again.texts([sha, sha1Of(textOf(1)), 'none'])).toEqual([odd, textOf(1), null]);
    expect(again.find(sha)).toEqual(desk.find(sha));
  });

  it('proves itself before it says what it knows', () => {
    const { desk, proofs } = begun();
    desk.known(['none']);
    desk.texts(['none']);
    desk.keep([textOf(1)], true);
    desk.flush();
    desk.judge(requestOf('0-1'), {
      kind: 'refused',
      problem: 'invalid-command',
      detail: '',
      error: 'NO',
    });
    expect(proofs()).toBe(5);
  });

  it('drops of what EVAL brought that which was not used for the longest time', () => {
    const { desk, memory } = begun();
    const shas = Array.from({ length: limits.scriptsKept }, (_, number) =>
      desk.evaluated(textOf(number)),
    ).map(({ sha }) => sha);
    desk.find(shas[0] ?? '');
    const { sha } = desk.evaluated(textOf(-1));
    const expected = [true, false, true, true];
    const asked = [shas[0] ?? '', shas[1] ?? '', shas[2] ?? '', sha];
    expect(desk.known(asked)).toEqual(expected);
    expect(begun(memory).desk.known(asked)).toEqual(expected);
  });

  it('drops as many as a larger one needs', () => {
    const { desk } = begun();
    // What counts its work is not kept, but has room in its bound.
    const bytes = limits.scriptBytes - 100;
    const most = Math.floor(limits.scriptBytesKept / bytes);
    const shas = Array.from({ length: most + 1 }, (_, number) =>
      desk.evaluated(textOf(number, bytes)),
    ).map(({ sha }) => sha);
    expect(desk.known(shas)).toEqual(shas.map((_, index) => index > 0));
  });

  it('takes no more than its bound by SCRIPT LOAD, and then nothing by EVAL either', () => {
    const { desk } = begun();
    const texts = Array.from({ length: limits.scriptsKept }, (_, number) => textOf(number));
    desk.evaluated('return "by EVAL"');
    expect(new Set(desk.keep(texts, true))).toEqual(new Set(['kept']));
    expect(desk.keep([textOf(-1), textOf(0)], true)).toEqual(['full', 'kept']);
    const { sha } = desk.evaluated(textOf(-2));
    expect(desk.known([sha, sha1Of('return "by EVAL"')])).toEqual([false, false]);
    desk.flush();
    expect(desk.keep([textOf(-1)], true)).toEqual(['kept']);
  });

  it('keeps by SCRIPT LOAD what EVAL brought before, and not the other way round', () => {
    const { desk, memory } = begun();
    const { sha } = desk.evaluated(textOf(1));
    desk.keep([textOf(1)], true);
    desk.evaluated(textOf(1));
    for (let number = 2; number < limits.scriptsKept + 9; number += 1) {
      desk.evaluated(textOf(number));
    }
    expect(begun(memory).desk.known([sha])).toEqual([true]);
  });

  it('forgets all of them when it is flushed', () => {
    const { desk, memory } = begun();
    const { sha } = desk.evaluated(textOf(1));
    desk.flush();
    expect([desk.find(sha), begun(memory).desk.find(sha)]).toEqual([null, null]);
  });

  it('keeps nothing that no region could run', () => {
    const { desk } = begun();
    expect(desk.known([desk.evaluated('\x1bLua').sha])).toEqual([false]);
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
  ])('drops what a region could not compile, %s', (_name, ops, part) => {
    const { desk } = begun();
    const shas = ['bad(', 'return 1'].map((text) => desk.evaluated(text).sha);
    desk.judge(requestOf('0-1', ...ops), decided({ part }));
    expect(desk.known(shas)).toEqual([false, true]);
  });
});
