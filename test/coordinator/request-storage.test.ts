import { describe, expect, it } from 'vitest';
import { RequestStorage } from '../../functions/coordinator/storage/request-storage.ts';
import type { KeyedRequest } from '../../shared/contracts/requests.ts';
import { limits } from '../../shared/limits.ts';
import { MemoryStorage } from './sqlite.ts';

const request: KeyedRequest = { token: 'shop', key: 'k1', digest: 'd1', attempt: 'a1' };
const again: KeyedRequest = { ...request, attempt: 'a2' };
const response = { status: 201, headers: { Location: '/v1/webhooks/ep_1' }, body: '{"id":"ep_1"}' };

function requestsIn(memory = new MemoryStorage()): RequestStorage {
  const storage = new RequestStorage(memory);
  storage.begin();
  return storage;
}

describe('a request under an idempotency key', () => {
  it('is answered with its first response until the key expires, also by a later instance', () => {
    const memory = new MemoryStorage();
    const storage = requestsIn(memory);
    const keptUntil = 10 + limits.requestsKeptMs;
    expect(storage.beginRequest(request, 10)).toEqual({ kind: 'begun', seed: 'a1', keptUntil });
    storage.endRequest(request, response, 11);
    const later = requestsIn(memory);
    const done = { kind: 'done', response, keptUntil };
    expect(later.beginRequest(again, keptUntil - 1)).toEqual(done);
    expect(later.beginRequest(again, keptUntil).kind).toBe('begun');
  });

  it('keeps its first response', () => {
    const storage = requestsIn();
    storage.beginRequest(request, 1);
    storage.endRequest(request, response, 2);
    storage.endRequest(again, { ...response, body: 'another' }, 3);
    storage.endRequest(again, 'nothing-done', 4);
    expect(storage.beginRequest(again, 5)).toMatchObject({ kind: 'done', response });
  });

  it('is refused if another request of the same token has its key', () => {
    const storage = requestsIn();
    storage.beginRequest(request, 1);
    expect(storage.beginRequest({ ...again, digest: 'd2' }, 2)).toEqual({ kind: 'reused' });
    expect(storage.beginRequest({ ...again, token: 'other', digest: 'd2' }, 2).kind).toBe('begun');
  });

  it('waits while another attempt is under way, and takes over its seed once that is lost', () => {
    const memory = new MemoryStorage();
    const storage = requestsIn(memory);
    storage.beginRequest(request, 1);
    expect(storage.beginRequest(again, 2)).toEqual({ kind: 'underway' });
    // The same call, repeated because its answer was lost.
    expect(storage.beginRequest(request, 3)).toMatchObject({ kind: 'begun', seed: 'a1' });
    const lost = 3 + limits.requestUnderwayMs;
    expect(storage.beginRequest(again, lost)).toMatchObject({ kind: 'begun', seed: 'a1' });
    expect(requestsIn(memory).beginRequest({ ...again, attempt: 'a3' }, 4)).toMatchObject({
      kind: 'begun',
      seed: 'a1',
    });
  });

  it('frees its key if nothing was done, and keeps its seed if the result is unknown', () => {
    const storage = requestsIn();
    storage.beginRequest(request, 1);
    storage.endRequest(request, 'unknown', 2);
    expect(storage.beginRequest(again, 3)).toMatchObject({ kind: 'begun', seed: 'a1' });
    storage.endRequest(again, 'nothing-done', 4);
    const other = { ...request, digest: 'd2', attempt: 'a3' };
    expect(storage.beginRequest(other, 5)).toMatchObject({ kind: 'begun', seed: 'a3' });
  });

  it('is not forgotten by an attempt that ends while another one is under way', () => {
    const storage = requestsIn();
    storage.beginRequest(request, 1);
    const lost = 1 + limits.requestUnderwayMs;
    storage.beginRequest(again, lost);
    storage.endRequest(request, 'nothing-done', lost);
    storage.endRequest(again, response, lost);
    expect(storage.beginRequest(request, lost)).toMatchObject({ kind: 'done', response });
  });

  it('with a large response is carried out again, with the same seed', () => {
    const storage = requestsIn();
    storage.beginRequest(request, 1);
    const body = 'x'.repeat(limits.requestResponseCharacters);
    storage.endRequest(request, { ...response, body }, 2);
    expect(storage.beginRequest(again, 3)).toMatchObject({ kind: 'begun', seed: 'a1' });
  });

  it('is refused beyond the limit of its token, until other keys expire', () => {
    const memory = new MemoryStorage();
    const storage = requestsIn(memory);
    const numbered = (number: number) => ({ ...request, key: `k${number}` });
    for (let number = 0; number < limits.requestsKeptPerToken; number += 1) {
      storage.beginRequest(numbered(number), 1 + number);
    }
    expect(storage.beginRequest(numbered(-1), 2_000)).toEqual({ kind: 'full' });
    expect(requestsIn(memory).beginRequest(numbered(-1), 2_000)).toEqual({ kind: 'full' });
    expect(storage.beginRequest({ ...numbered(-1), token: 'other' }, 2_000).kind).toBe('begun');
    expect(storage.beginRequest(numbered(-1), 1 + limits.requestsKeptMs).kind).toBe('begun');
  });
});
