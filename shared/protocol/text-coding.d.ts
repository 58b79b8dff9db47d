/**
 * The part of the runtime that the core uses: the coding of text, which every JavaScript runtime has and ECMAScript does not
 * define. It does no I/O and knows no time. Only the compiler of the core reads this file; the shells have the whole types.
 */

declare class TextEncoder {
  encode(text: string): Uint8Array<ArrayBuffer>;
}

declare class TextDecoder {
  constructor(label: 'utf-8', options: { readonly fatal: boolean; readonly ignoreBOM: boolean });
  decode(bytes: Uint8Array): string;
}
