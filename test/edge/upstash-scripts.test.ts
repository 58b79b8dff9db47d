/** Tests EVAL and EVALSHA of the Upstash dialect: the path of reads and writes, and the cache of texts. */
import { describe, expect, it } from 'vitest';
import { sha1Of } from '../../functions/platform/sha1.ts';
import { unknownScriptError } from '../../shared/commands/user-scripts.ts';
import { limits } from '../../shared/limits.ts';
import { decided, read, tokens } from './fakes.ts';
import {
  askedOf,
  counted,
  edgeWith,
  reader,
  reading,
  ro,
  shaOfReading,
  shaOfWriting,
  writing,
} from './script-requests.ts';
import { get, post } from './upstash-requests.ts';

describe('a script that is recognized as read-only', () => {
  it('runs as a strong snapshot, and its text goes to the coordinator once, in the background', async () => {
    const edge = edgeWith();
    for (const _ of [1, 2]) {
      const response = await post(edge, '/', ['EVAL', reading, 1, 'k', 'a']);
      expect([response.status, response.json]).toEqual([200, { result: 'v' }]);
      expect(response.headers.get('lockstep-via')).toBe('lease');
      await edge.settled();
    }
    expect(edge.snapshots.map(({ request }) => request)).toMatchObject([
      { strong: true, keys: ['k'], commands: [ro(reading, '1', 'k', 'a')] },
      { strong: true, keys: ['k'] },
    ]);
    expect(edge.calls).toEqual([['coordinator', 'keepScripts', [reading], false]]);
    expect(edge.writes).toEqual([]);
  });

  it('is known by its digest after that, without a call of the coordinator', async () => {
    const edge = edgeWith();
    await post(edge, '/', ['EVAL', reading, 1, 'k']);
    await edge.settled();
    const response = await get(edge, `/evalsha/${shaOfReading.toUpperCase()}/1/k`);
    expect(response.json).toEqual({ result: 'v' });
    expect(edge.snapshots[1]?.request.commands).toEqual([ro(reading, '1', 'k')]);
    expect(askedOf(edge)).toEqual(['keepScripts']);
  });

  it('is refreshed after a while, first in the background and then before it runs', async () => {
    const edge = edgeWith([reading]);
    const evalsha = async () => (await get(edge, `/evalsha/${shaOfReading}/1/k`)).json;
    await get(edge, `/evalsha_ro/${shaOfReading}/1/k`);
    edge.now += limits.scriptKnownMs / 2 + 1;
    expect(await evalsha()).toEqual({ result: 'v' });
    await edge.settled();
    expect(askedOf(edge)).toEqual(['scriptTexts', 'scriptTexts']);
    edge.now += limits.scriptKnownMs / 2 - 1;
    await evalsha();
    expect(askedOf(edge)).toHaveLength(2);
    edge.now += limits.scriptKnownMs;
    await edge.coordinator.flushScripts?.();
    edge.coordinator.write = async () => ({
      kind: 'refused',
      problem: 'invalid-command',
      detail: 'x',
      error: unknownScriptError,
    });
    expect(await evalsha()).toEqual({ error: unknownScriptError });
  });

  it('runs as a write by an unknown digest, and the edge requests its text in the background', async () => {
    const edge = edgeWith([reading, writing]);
    for (const _ of [1, 2]) {
      await get(edge, `/evalsha/${shaOfReading}/1/k`);
      await get(edge, `/evalsha/${shaOfWriting}/1/k/v`);
      await edge.settled();
    }
    expect(edge.writes.map(({ ops }) => ops[0])).toEqual([
      ['evalsha', shaOfReading, '1', 'k'],
      ['evalsha', shaOfWriting, '1', 'k', 'v'],
      ['evalsha', shaOfWriting, '1', 'k', 'v'],
    ]);
    expect(edge.snapshots).toHaveLength(1);
    expect(askedOf(edge)).toEqual(['scriptTexts', 'scriptTexts']);
  });

  it('stays in the cache while there is room, and is evicted by the next one', async () => {
    // The cache holds its text, and the text as regions run it.
    const bytes = 100_000;
    const own = counted(reading).length - reading.length;
    const most = Math.floor(limits.scriptBytesRemembered / (2 * bytes + own));
    const textOf = (number: number) => `${reading} -- ${number}`.padEnd(bytes);
    const edge = edgeWith();
    const evalshaOfFirst = () => get(edge, `/evalsha/${sha1Of(textOf(0))}/1/k`);
    for (let number = 0; number < most; number += 1) {
      await post(edge, '/', ['EVAL', textOf(number), 1, 'k']);
      await edge.settled();
    }
    await evalshaOfFirst();
    expect(edge.writes).toEqual([]);
    await post(edge, '/', ['EVAL', textOf(most), 1, 'k']);
    await edge.settled();
    await evalshaOfFirst();
    expect(edge.writes.map(({ ops }) => ops[0]?.[0])).toEqual(['evalsha']);
  });

  it('runs as a write if a region finds that it writes', async () => {
    const refused = [{ e: 'ERR Write commands are not allowed from read-only scripts. script: x' }];
    const edge = edgeWith([], JSON.stringify(refused));
    const response = await post(edge, '/', ['EVAL', reading, 1, 'k']);
    expect(response.json).toEqual({ result: 'w' });
    expect(edge.writes).toHaveLength(1);
    const only = await post(edge, '/', ['EVAL_RO', reading, 1, 'k']);
    expect(only.json.error).toContain('Write commands are not allowed');
    expect(edge.writes).toHaveLength(1);
  });

  it('gets the flag no-writes added to its other flags', async () => {
    const edge = edgeWith();
    const text = `#!lua flags=allow-key-locking\n${reading}`;
    await post(edge, '/', ['EVAL', text, 1, 'k']);
    await post(edge, '/', ['EVAL_RO', text, 1, 'k']);
    const promised = counted(`#!lua flags=allow-key-locking flags=no-writes\n${reading}`);
    const sent = edge.snapshots.map(({ request }) => request.commands[0]?.args.slice(1, 3));
    expect(sent).toEqual([
      [sha1Of(text), promised],
      [sha1Of(text), counted(text)],
    ]);
  });

  it('is not stored if a region finds that it does not compile', async () => {
    const error = 'ERR Error compiling script (new function): user_script:1: x';
    const edge = edgeWith([], JSON.stringify([{ e: error }]));
    const response = await post(edge, '/', ['EVAL', 'return (', 0]);
    await edge.settled();
    expect([response.json, askedOf(edge)]).toEqual([{ error }, []]);
  });

  it('is sent to the coordinator again if that failed', async () => {
    const edge = edgeWith();
    const keep = edge.coordinator.keepScripts;
    edge.coordinator.keepScripts = async () => {
      throw new Error('reset');
    };
    await post(edge, '/', ['EVAL', reading, 1, 'k']);
    await edge.settled();
    if (keep !== undefined) edge.coordinator.keepScripts = keep;
    await post(edge, '/', ['EVAL', reading, 1, 'k']);
    await edge.settled();
    expect((await post(edge, '/', ['SCRIPT', 'EXISTS', shaOfReading])).json.result).toEqual([1]);
  });
});

describe('a script that writes', () => {
  it('is a write of its own, and goes to the coordinator unchanged', async () => {
    const edge = edgeWith();
    const response = await post(edge, '/', ['EVAL', writing, 1, 'k', 'v']);
    expect(response.json).toEqual({ result: 'w' });
    expect(edge.writes).toMatchObject([{ ops: [['EVAL', writing, '1', 'k', 'v']] }]);
    expect([edge.snapshots, askedOf(edge)]).toEqual([[], []]);
  });

  it('is refused with the error of Redis by a coordinator that does not know its digest', async () => {
    const edge = edgeWith();
    edge.coordinator.write = async () => ({
      kind: 'refused',
      problem: 'invalid-command',
      detail: 'ops[0]: x',
      error: unknownScriptError,
    });
    const response = await get(edge, `/evalsha/${shaOfWriting}/0`);
    expect([response.status, response.json]).toEqual([400, { error: unknownScriptError }]);
  });

  it('is refused by a region if its token only reads', async () => {
    const edge = edgeWith();
    await post(edge, '/', ['EVAL', writing, 1, 'k', 'v'], reader);
    await edge.settled();
    expect(edge.snapshots[0]?.request.commands).toEqual([ro(writing, '1', 'k', 'v')]);
    // The refused script changed nothing.
    expect([edge.writes, askedOf(edge)]).toEqual([[], []]);
  });
});

describe('a token without permission for scripts', () => {
  it.each([
    ['EVAL', reading, '1', 'k'],
    ['eval_ro', reading, '1', 'k'],
    ['EVALSHA', shaOfReading, '1', 'k'],
    ['EVALSHA_RO', shaOfReading, '1', 'k'],
    ['SCRIPT', 'LOAD', reading],
    ['SCRIPT', 'EXISTS', shaOfReading],
    ['SCRIPT', 'FLUSH'],
  ])('is refused with the error of Redis: %s', async (...command) => {
    const edge = edgeWith([reading]);
    const response = await post(edge, '/', command, { token: tokens.read });
    const error = `NOPERM this user has no permissions to run the '${command[0].toLowerCase()}' command`;
    expect([response.status, response.json]).toEqual([400, { error }]);
    const whole = await post(edge, '/multi-exec', [command], { token: tokens.read });
    expect(whole.json.error).toContain('NOPERM');
    expect([edge.snapshots, edge.writes, edge.calls]).toEqual([[], [], []]);
  });

  it('is refused with a problem that names the permission', async () => {
    const edge = edgeWith([reading]);
    const body = JSON.stringify({
      reads: [
        ['GET', 'k'],
        ['EVAL_RO', reading, '1', 'k'],
      ],
    });
    const response = await edge.ask('POST', '/v1/reads', { body, token: tokens.read });
    expect([response.status, response.json]).toEqual([
      403,
      expect.objectContaining({ type: '/problems/forbidden', needs: 'scripts' }),
    ]);
    expect(edge.snapshots).toEqual([]);
  });
});

describe('a read-only script by its digest', () => {
  it('is refused with the error of Redis if it is unknown', async () => {
    const edge = edgeWith();
    const response = await get(edge, `/evalsha_ro/${shaOfReading}/0`);
    expect([response.status, response.json]).toEqual([400, { error: unknownScriptError }]);
    expect((await get(edge, `/evalsha/${shaOfReading}/0`, reader)).json).toEqual(response.json);
    expect(edge.writes).toEqual([]);
  });

  it('returns status 503 if the coordinator does not return its text', async () => {
    const edge = edgeWith();
    edge.coordinator = {};
    const response = await get(edge, `/evalsha_ro/${shaOfReading}/0`);
    expect(response.status).toBe(503);
    expect((await post(edge, '/', ['EVAL_RO', reading, 0])).status).toBe(200);
  });
});

describe('a pipeline with scripts', () => {
  it('finds texts by digest after LOAD in it, and not after FLUSH in it', async () => {
    const edge = edgeWith([], '["v"]');
    const response = await post(edge, '/pipeline', [
      ['EVALSHA_RO', shaOfReading, 0],
      ['SCRIPT', 'LOAD', reading],
      ['SCRIPT', 'EXISTS', shaOfReading],
      ['EVALSHA_RO', shaOfReading, 0],
      ['SCRIPT', 'FLUSH'],
      ['EVALSHA_RO', shaOfReading, 0],
    ]);
    expect(JSON.parse(response.text)).toEqual([
      { error: unknownScriptError },
      { result: shaOfReading },
      { result: [1] },
      { result: 'v' },
      { result: 'OK' },
      { error: unknownScriptError },
    ]);
  });

  it('finds the text of an earlier EVAL by its digest', async () => {
    const edge = edgeWith([], '["v","w"]');
    const response = await post(edge, '/pipeline', [
      ['EVAL', reading, 1, 'k'],
      ['EVALSHA_RO', shaOfReading, 1, 'k'],
    ]);
    expect(JSON.parse(response.text)).toEqual([{ result: 'v' }, { result: 'w' }]);
    expect(edge.snapshots).toHaveLength(1);
  });

  it('runs read-only scripts among its writes if it writes', async () => {
    const edge = edgeWith();
    await post(edge, '/pipeline', [
      ['SET', 'k', 'v'],
      ['EVAL', reading, 1, 'k'],
      ['EVAL_RO', reading, 1, 'k'],
    ]);
    expect(edge.batches).toEqual([3]);
    expect(edge.snapshots).toEqual([]);
  });

  it('takes several snapshots if the texts are too large for one', async () => {
    const own = counted(reading).length - reading.length;
    const long = `${reading} --`.padEnd(limits.scriptBytes - own, '-');
    const edge = edgeWith([long]);
    edge.regions['us-east-1'] = ['["v","v"]', '["v","v"]', '["v"]'].map((replies) => read(replies));
    const commands = Array.from({ length: 5 }, () => ['EVALSHA_RO', sha1Of(long), 1, 'k']);
    const response = await post(edge, '/pipeline', commands);
    expect(JSON.parse(response.text)).toEqual(commands.map(() => ({ result: 'v' })));
    expect(edge.snapshots.map(({ request }) => request.commands.length)).toEqual([2, 2, 1]);
    const whole = await post(edge, '/multi-exec', commands);
    expect(whole.json.error).toContain('at most 256000 bytes');
  });

  it('loads many texts with one snapshot and one call', async () => {
    const edge = edgeWith([], JSON.stringify(Array(50).fill(1)));
    const texts = Array.from({ length: 50 }, (_, index) => `return ${index}`);
    const response = await post(
      edge,
      '/pipeline',
      texts.map((text) => ['SCRIPT', 'LOAD', text]),
    );
    expect(JSON.parse(response.text)).toEqual(texts.map((text) => ({ result: sha1Of(text) })));
    expect([edge.snapshots.length, askedOf(edge)]).toEqual([1, ['keepScripts']]);
  });
});

describe('a transaction with scripts', () => {
  it('of reads is one snapshot, and of writes one frame that continues on errors', async () => {
    const edge = edgeWith([], '["v","v"]', '[0,"OK","w"]');
    const reads = await post(edge, '/multi-exec', [
      ['GET', 'k'],
      ['EVAL', reading, 1, 'k'],
    ]);
    expect(JSON.parse(reads.text)).toEqual([{ result: 'v' }, { result: 'v' }]);
    edge.coordinator.write = async () => decided({ part: '[0,{"s":"OK"},"w"]' });
    const writes = await post(edge, '/multi-exec', [
      ['SET', 'k', 'v'],
      ['EVAL', reading, 1, 'k'],
    ]);
    expect(JSON.parse(writes.text)).toEqual([{ result: 'OK' }, { result: 'w' }]);
    expect(edge.writes).toMatchObject([
      { continueOnError: true, ops: [{}, ['EVAL', reading, '1', 'k']] },
    ]);
  });

  it('returns the error of an invalid script in its place', async () => {
    const edge = edgeWith([], '["v"]');
    const response = await post(edge, '/multi-exec', [
      ['GET', 'k'],
      ['EVAL', reading, 5],
      ['EVALSHA_RO', shaOfReading, 0],
    ]);
    expect(JSON.parse(response.text)).toEqual([
      { result: 'v' },
      { error: "ERR Number of keys can't be greater than number of args" },
      { error: unknownScriptError },
    ]);
  });

  it('is discarded if it has SCRIPT or a read-only script that may write', async () => {
    const edge = edgeWith();
    for (const command of [
      ['SCRIPT', 'EXISTS', 'x'],
      ['EVAL_RO', 'return f(redis)', 0],
    ]) {
      const response = await post(edge, '/multi-exec', [['SET', 'k', 'v'], command]);
      expect(response.json.error).toMatch(/^EXECABORT .*is not allowed in a transaction/);
    }
    expect(edge.writes).toEqual([]);
  });
});

describe('a script in Lockstep’s own dialect', () => {
  it('is a command of a write', async () => {
    const edge = edgeWith();
    const response = await edge.write({ ops: [['EVALSHA', shaOfWriting, 1, 'k', 'v']] });
    expect([response.status, response.json.results]).toEqual([200, ['w']]);
    const refused = await edge.write({ ops: [['EVAL', writing, 2, 'k']] });
    expect([refused.status, refused.json.detail]).toEqual([
      400,
      expect.stringContaining("Number of keys can't be greater"),
    ]);
  });

  it('is a command of a snapshot', async () => {
    const edge = edgeWith([reading]);
    const body = { reads: [['EVALSHA_RO', shaOfReading, 1, 'k']] };
    const response = await edge.ask('POST', '/v1/reads', { body, ...reader });
    expect([response.status, response.json.results]).toEqual([200, ['v']]);
    const unknown = { reads: [['EVALSHA_RO', shaOfWriting, 0]] };
    const refused = await edge.ask('POST', '/v1/reads', { body: unknown });
    expect([refused.status, refused.json.detail]).toEqual([
      400,
      expect.stringContaining('NOSCRIPT'),
    ]);
  });
});
