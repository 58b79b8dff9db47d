/** Tests SCRIPT LOAD, EXISTS and FLUSH of the Upstash dialect. */
import { describe, expect, it } from 'vitest';
import { unknownScriptError } from '../../shared/commands/user-scripts.ts';
import { limits } from '../../shared/limits.ts';
import {
  askedOf,
  edgeWith,
  reader,
  reading,
  shaOfReading,
  shaOfWriting,
} from './script-requests.ts';
import { get, post } from './upstash-requests.ts';

describe('SCRIPT', () => {
  it('LOAD compiles the text in a region, stores it permanently, and returns its digest', async () => {
    const edge = edgeWith();
    const response = await post(edge, '/', ['script', 'load', reading]);
    expect(response.json).toEqual({ result: shaOfReading });
    expect(edge.snapshots[0]?.request).toMatchObject({
      strong: false,
      commands: [{ args: ['EVAL_RO', shaOfReading, `do return 1 end; ${reading}`, '0'] }],
    });
    expect(edge.calls).toEqual([['coordinator', 'keepScripts', [reading], true]]);
  });

  it('LOAD returns the error of the region for a text that does not compile', async () => {
    const error = 'ERR Error compiling script (new function): user_script:1: x';
    const edge = edgeWith([], JSON.stringify([{ e: error }]));
    const response = await post(edge, '/', ['SCRIPT', 'LOAD', 'bad(']);
    expect([response.status, response.json]).toEqual([400, { error }]);
    expect(askedOf(edge)).toEqual([]);
  });

  it('LOAD reports that the store is full', async () => {
    const edge = edgeWith();
    edge.coordinator.keepScripts = async () => ['full'];
    const response = await post(edge, '/', ['SCRIPT', 'LOAD', reading]);
    expect(response.json.error).toContain(`keeps ${limits.scriptsKept} scripts`);
  });

  it('EXISTS reads from the coordinator, after it has stored the texts that ran here', async () => {
    const edge = edgeWith();
    await post(edge, '/', ['EVAL', reading, 1, 'k']);
    const shas = [shaOfReading.toUpperCase(), 'x', shaOfWriting, shaOfReading];
    const response = await post(edge, '/', ['SCRIPT', 'EXISTS', ...shas], reader);
    expect(response.json).toEqual({ result: [1, 0, 0, 1] });
  });

  it('FLUSH forgets the texts in the isolate as well', async () => {
    const edge = edgeWith([reading]);
    await get(edge, `/evalsha_ro/${shaOfReading}/0`);
    expect((await get(edge, '/script/flush/async')).json).toEqual({ result: 'OK' });
    const response = await get(edge, `/evalsha_ro/${shaOfReading}/0`);
    expect(response.json).toEqual({ error: unknownScriptError });
  });

  it.each([
    [['SCRIPT'], "ERR wrong number of arguments for 'script' command"],
    [['SCRIPT', 'LOAD'], "ERR wrong number of arguments for 'script|load' command"],
    [['SCRIPT', 'load', 'a', 'b'], "ERR wrong number of arguments for 'script|load' command"],
    [['SCRIPT', 'EXISTS'], "ERR wrong number of arguments for 'script|exists' command"],
    [['SCRIPT', 'FLUSH', 'x'], 'ERR SCRIPT FLUSH only support SYNC|ASYNC option'],
    [['SCRIPT', 'FLUSH', 'SYNC', 'ASYNC'], 'ERR SCRIPT FLUSH only support SYNC|ASYNC option'],
    [['SCRIPT', 'NOPE'], "ERR unknown subcommand 'NOPE'. Try SCRIPT HELP."],
  ])('%j is refused with the error of Redis', async (command, error) => {
    const response = await post(edgeWith(), '/', command);
    expect([response.status, response.json]).toEqual([400, { error }]);
  });

  it.each(['KILL', 'DEBUG', 'SHOW', 'HELP'])('%s is refused by name', async (name) => {
    const response = await post(edgeWith(), '/', ['SCRIPT', name, 'x']);
    expect(response.json.error).toContain(`ERR SCRIPT ${name} is not supported: `);
  });

  it.each(['LOAD', 'FLUSH'])('%s needs a token that writes', async (name) => {
    const command = name === 'LOAD' ? ['SCRIPT', 'LOAD', reading] : ['SCRIPT', 'FLUSH'];
    const response = await post(edgeWith(), '/', command, reader);
    expect(response.json.error).toMatch(/^NOPERM .*'script\|/);
  });
});
