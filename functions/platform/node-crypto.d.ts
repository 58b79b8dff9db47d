/** The part of Node's module that is used here. The runtime has the module, but its packages have no types for it. */
declare module 'node:crypto' {
  export function createHash(algorithm: 'sha1'): {
    update(text: string, encoding: 'latin1'): { digest(encoding: 'hex'): string };
  };
}
