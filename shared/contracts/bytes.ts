/**
 * Any bytes as text, with one character per byte (U+0000 to U+00FF): a key, a value, or a part of one. Copies and
 * replies use it because the data of a region need not be UTF-8.
 */
export type Bytes = string;
