/** An edge whose coordinator stores scripts, for the tests of scripts. */
import { expect } from 'vitest';
import { sha1Of } from '../../functions/platform/sha1.ts';
import { readLua } from '../../shared/commands/lua-text.ts';
import { type EdgeUnderTest, scriptedToken } from './fakes.ts';
import { edgeOf } from './upstash-requests.ts';

export const reading = "return redis.call('GET', KEYS[1])";
export const writing = "return redis.call('SET', KEYS[1], ARGV[1])";
export const shaOfReading = sha1Of(reading);
export const shaOfWriting = sha1Of(writing);

/** An edge whose coordinator stores texts, initially `known`. */
export function edgeWith(texts: readonly string[] = [], replies = '["v"]', part = '[0,"w"]') {
  const edge = edgeOf(replies, part);
  const kept = new Map(texts.map((text) => [sha1Of(text), text]));
  edge.coordinator = {
    ...edge.coordinator,
    keepScripts: async (brought) => {
      for (const text of brought) kept.set(sha1Of(text), text);
      return brought.map(() => 'kept' as const);
    },
    scriptTexts: async (shas) => shas.map((sha) => kept.get(sha) ?? null),
    scriptsKnown: async (shas) => shas.map((sha) => kept.has(sha)),
    flushScripts: async () => kept.clear(),
  };
  return edge;
}

export function askedOf(edge: EdgeUnderTest): readonly string[] {
  return edge.calls.filter(([object]) => object === 'coordinator').map(([, method]) => method);
}

export function ro(text: string, ...tail: readonly string[]) {
  return expect.objectContaining({ args: ['EVAL_RO', sha1Of(text), counted(text), ...tail] });
}

/** The text as regions run it. */
export function counted(text: string): string {
  return readLua(text).counted;
}

/** A token that may run scripts, and only read. */
export const reader = { token: scriptedToken };
