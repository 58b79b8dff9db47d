/**
 * The request target of a URL, from its path on, exactly as the client sent it. A parsed URL would resolve `.` and
 * `..`, escaped or not, and so name another key; it would also lose the difference between `/` and `%2F`.
 */
export function rawTarget(url: string): string {
  const authority = url.indexOf('//');
  const path = authority < 0 ? -1 : url.indexOf('/', authority + 2);
  const [target = '/'] = (path < 0 ? '/' : url.slice(path)).split('#', 1);
  return target;
}
