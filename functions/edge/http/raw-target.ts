/**
 * The request target of an address, from its path on and exactly as the client sent it. A parsed URL would resolve `.`
 * and `..`, escaped or not, and so name another key than the client did; it would also lose which slashes are escaped.
 */
export function rawTarget(url: string): string {
  const authority = url.indexOf('//');
  const path = authority < 0 ? -1 : url.indexOf('/', authority + 2);
  const [target = '/'] = (path < 0 ? '/' : url.slice(path)).split('#', 1);
  return target;
}
