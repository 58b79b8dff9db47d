/** Properties of the compiler that hold for random commands. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileReads, compileWrite } from '../../shared/commands/compile.ts';
import { commandTable } from '../../shared/commands/table.ts';
import { operationAt } from '../../shared/contracts/frame.ts';
import { commandOf } from '../../shared/protocol/transactions/event-router.ts';
import { context, keysAt, now, writable } from './command-samples.ts';

describe('the compiler', () => {
  const names = commandTable.map((row) => row.name);
  const words = [
    'NX',
    'XX',
    'GET',
    'EX',
    'PX',
    'EXAT',
    'PXAT',
    'KEEPTTL',
    'PERSIST',
    'DB',
    '1',
    '2',
    '-1',
    'k',
  ];
  const word = fc.oneof(
    fc.constantFrom(...words),
    fc.string({ unit: 'binary' }),
    fc.integer().map(String),
  );
  const command = fc
    .tuple(fc.oneof(fc.constantFrom(...names), fc.string()), fc.array(word, { maxLength: 8 }))
    .map(([name, rest]) => [name, ...rest]);
  const ops = fc.array(command, { maxLength: 4 });
  const sampled = fc.array(
    fc.constantFrom(...writable).map((sample) => sample.split(' ')),
    { minLength: 1, maxLength: 9 },
  );

  it('never throws, and gives the reason of every refusal', () => {
    fc.assert(
      fc.property(fc.oneof(ops, fc.array(fc.array(word))), (given) => {
        for (const compiled of [compileWrite(given, [], context), compileReads(given)]) {
          if (compiled.ok) continue;
          expect(compiled.detail).not.toBe('');
          expect(compiled.detail.isWellFormed()).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('returns equal output for equal input and context', () => {
    fc.assert(
      fc.property(fc.oneof(ops, sampled), (given) => {
        expect(compileWrite(given, [], context)).toEqual(compileWrite(given, [], context));
      }),
    );
  });

  it('lists exactly the keys at the positions of its operations, each once', () => {
    fc.assert(
      fc.property(fc.oneof(ops, sampled), (given) => {
        const compiled = compileWrite(given, [], context);
        if (!compiled.ok) return;
        const named = compiled.operations.flatMap((operation) => [
          ...keysAt(operation, operation.writes),
          ...keysAt(operation, operation.reads),
        ]);
        expect(new Set(compiled.keys).size).toBe(compiled.keys.length);
        expect(new Set(compiled.keys)).toEqual(new Set(named));
      }),
    );
  });

  it('leaves the keys and arguments of compiled commands unchanged', () => {
    fc.assert(
      fc.property(sampled, (given) => {
        const first = compileWrite(given, [], context);
        if (!first.ok) throw new Error(first.detail);
        const carried = first.operations.map((operation) => operationAt(operation, context.now));
        const again = carried.map(commandOf);
        const later = compileWrite(again, [], { ...context, now: now + 1 });
        expect(later).toMatchObject({ keys: first.keys });
        // An explicit id is the client's own: Lockstep never replaces it, even if the stream is ahead.
        const expected = carried.map((operation) =>
          operation.kind === 'append' ? { ...operation, kind: 'write' } : operation,
        );
        expect(later).toHaveProperty('operations', expected);
      }),
    );
  });

  it('leaves no relative expiry', () => {
    const expiring = fc.constantFrom(
      'SET k v',
      'GETEX k',
      'SETEX k',
      'PSETEX k',
      'EXPIRE k',
      'PEXPIRE k',
    );
    const tail = fc.array(fc.constantFrom(...words.slice(0, 9), '5', 'ex', 'px', 'v'), {
      maxLength: 4,
    });
    fc.assert(
      fc.property(expiring, tail, (head, rest) => {
        const compiled = compileWrite([[...head.split(' '), ...rest]], [], context);
        if (!compiled.ok) return;
        const [operation] = compiled.operations;
        const [name, , ...options] = operation?.kind === 'set' ? ['SET'] : (operation?.args ?? []);
        expect(['SET', 'GETEX', 'PEXPIREAT']).toContain(name);
        const said = name === 'SET' ? options.slice(1) : options;
        expect(said.map((option) => option.toUpperCase())).not.toContain('EX');
        expect(said.map((option) => option.toUpperCase())).not.toContain('PX');
      }),
      { numRuns: 500 },
    );
  });
});
