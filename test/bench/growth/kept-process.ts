/** Measures kept writes in a process of its own, whose heap nothing else uses. Takes the sizes as JSON, prints JSON. */
import process from 'node:process';
import { measureKeptWrites } from './kept-writes.ts';

const sizes: readonly number[] = JSON.parse(process.argv[2] ?? '[]');
console.log(JSON.stringify(measureKeptWrites(sizes, (line) => console.error(line))));
