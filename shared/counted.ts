/** A count with its noun, for sentences that users see: `1 key`, `2 keys`. */
export function counted(count: number, noun: string): string {
  return `${count} ${count === 1 ? noun : `${noun}s`}`;
}
