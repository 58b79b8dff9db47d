/** What is used of Node's own module, which the runtime brings; its types come with no package of the runtime's. */
declare module 'node:crypto' {
  export function createHash(algorithm: 'sha1'): {
    update(text: string, encoding: 'latin1'): { digest(encoding: 'hex'): string };
  };
}
