import { it } from 'vitest';
import { startRedisServer } from './servers.ts';
import { connectDirectly } from './direct.ts';
import { roundOf, executed } from './fixtures.ts';
import { connectRegion } from '../../functions/region/client.ts';
import { startGateway } from '../../local/gateway.ts';
import { encodeRound, keysOf } from '../../functions/region/encoding.ts';
import { roundScript } from '../../functions/region/scripts.ts';
const kinds = { strings: (i: number) => ['SET', `key:${i}`, `value-${i}-${i * 7919}`], hashes: (i: number) => ['HSET', `h:${i}`, 'name', `n${i}`, 'age', String(i % 90), 'mail', `m${i}@example.org`], binary: (i:number) => ['SET', `key:${i}`, Buffer.from(Array.from({length: 100}, (_, j) => (i * 31 + j * 97 + j*j) & 255))], text: (i: number) => ['SET', `key:${i}`, `The quick brown fox jumps over the lazy dog ${i} and the quick brown fox sleeps ${i*3} nights`] } as const;
it('times', async () => {
  for (const [name, make] of Object.entries(kinds)) {
    const s = await startRedisServer(); const t = await startRedisServer();
    const gs = await startGateway({ redisPort: s.port, token: 't', roundTripMs: 0 }); const gt = await startGateway({ redisPort: t.port, token: 't', roundTripMs: 0 });
    await gs.ready(); await gt.ready();
    for (let b = 0; b < 100; b++) { const p = s.redis.pipeline(); for (let i = 0; i < 1000; i++) { const [c, ...a] = make(b * 1000 + i); p.call(c as string, ...(a as string[])); } await p.exec(); }
    const plain = async () => { const at = performance.now(); let cursor = '0'; do { const [n, keys] = await s.redis.scan(cursor, 'COUNT', 1000); cursor = n; const p = s.redis.pipeline(); for (const k of keys) { p.dumpBuffer(k); p.pttl(k); } const r = await p.exec(); const q = t.redis.pipeline(); keys.forEach((k, i) => { const ttl = r![2 * i + 1]![1] as number; q.restore(k, ttl < 0 ? 0 : ttl, r![2 * i]![1] as Buffer, 'REPLACE'); }); await q.exec(); } while (cursor !== '0'); return performance.now() - at; };
    const ours = async (a: any, b: any, label: string) => { const sha = async (round: any, src: any) => executed(await src.round(round, 60000)).copy; let number = 1; await sha(roundOf({ role: 'copying', copy: { kind: 'begin', token: label, number, replaces: null } }), b); await sha(roundOf({ copy: { kind: 'scan', cursor: '0', count: 1, form: 'dump' } }), a); const at = performance.now(); let rt = 0, wt = 0; let cursor: string | null = '0'; while (cursor !== null) { let u = performance.now(); const found: any = await sha(roundOf({ copy: { kind: 'scan', cursor, count: 1000, form: 'dump' } }), a); rt += performance.now() - u; if (found.left.length) throw new Error('left'); cursor = found.cursor; number++; u = performance.now(); const w: any = await sha(roundOf({ role: 'copying', copy: { kind: 'write', token: label, number, data: found.items.map((i: any) => i.data) } }), b); if (w.failed.length) throw new Error(JSON.stringify(w.failed[0])); wt += performance.now() - u; } const total = performance.now() - at; return `${label} ${total | 0} (read ${rt | 0}, write ${wt | 0})`; };
    const out: string[] = [];
    out.push(`plain ${(await plain()) | 0}`); await t.redis.flushall(); out.push(`plain ${(await plain()) | 0}`);
    await t.redis.flushall(); out.push(await ours(connectDirectly(s.redis, 'flagged'), connectDirectly(t.redis, 'flagged'), 'direct'));
    await t.redis.flushall(); await s.redis.config('RESETSTAT'); out.push(await ours(connectRegion({ id: 'a', url: gs.url, token: 't' }), connectRegion({ id: 'b', url: gt.url, token: 't' }), 'http'));
    const st = async (r: any) => (await r.info('commandstats')).match(/cmdstat_eval(sha)?:.*?usec=(\d+)/g);
    out.push('server script us: ' + JSON.stringify(await st(s.redis)) + JSON.stringify(await st(t.redis)));
    console.log(name, '\n  ' + out.join('\n  '), await t.redis.dbsize());
    await gs.close(); await gt.close(); await s.stop(); await t.stop();
  }
}, 200000);
