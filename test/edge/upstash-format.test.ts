/** Tests the response formats of the Upstash dialect: JSON, base64 and RESP2. */
import { describe, expect, it } from 'vitest';
import { edgeOf, get, post } from './upstash-requests.ts';

const resp2 = { 'Upstash-Response-Format': 'resp2' };
const base64 = { 'Upstash-Encoding': 'base64' };

describe('the format of a response', () => {
  const reply = '[["v",{"s":"OK"},null,-3,["\\u00c3\\u00a9"],{"e":"ERR x"}]]';

  it('is JSON, with every digit of an integer', async () => {
    const response = await get(edgeOf('[9223372036854775807]'), '/strlen/k');
    expect(response.text).toBe('{"result":9223372036854775807}');
    expect(response.headers.get('content-type')).toBe('application/json');
    const nested = await post(edgeOf(reply), '/', ['MGET', 'k']);
    expect(nested.text).toBe('{"result":["v","OK",null,-3,["é"],"ERR x"]}');
  });

  it('is base64 at every depth on request; only a status OK stays plain', async () => {
    const response = await post(edgeOf(reply), '/', ['MGET', 'k'], { headers: base64 });
    expect(response.text).toBe('{"result":["dg==","T0s=",null,-3,["w6k="],"RVJSIHg="]}');
    const ok = await get(edgeOf(), '/set/k/v', { headers: base64 });
    expect(ok.text).toBe('{"result":"OK"}');
  });

  it('is RESP2 in bytes on request, also of errors and of a pipeline', async () => {
    const response = await post(edgeOf(reply), '/', ['MGET', 'k'], { headers: resp2 });
    expect(response.text).toBe('*6\r\n$1\r\nv\r\n+OK\r\n$-1\r\n:-3\r\n*1\r\n$2\r\né\r\n-ERR x\r\n');
    expect(response.headers.get('content-type')).toBe('application/octet-stream');
    const commands = [['LPOP', 'l', 2], ['LPOP', 'l'], ['NOPE']];
    const pipeline = await post(edgeOf('[]', '[0,null]'), '/pipeline', commands, {
      headers: resp2,
    });
    const unknown = "-ERR unknown command 'NOPE', with args beginning with: \r\n";
    expect(pipeline.text).toBe(`*-1\r\n$-1\r\n${unknown}`);
  });

  it('of a transaction is always JSON', async () => {
    const response = await post(edgeOf(), '/multi-exec', [['SET', 'a', 1]], { headers: resp2 });
    expect(response.text).toBe('[{"result":"OK"}]');
  });

  it.each([
    ['both at once', { ...base64, ...resp2 }],
    ['another one', { 'Upstash-Response-Format': 'resp3' }],
  ])('is refused if the request names %s', async (_name, headers) => {
    const response = await get(edgeOf(), '/get/k', { headers });
    expect(response.status).toBe(400);
    expect(response.json.error).toMatch(/^ERR .*Upstash-Response-Format/);
  });
});
