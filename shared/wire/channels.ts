/** Begins the names of what stands for channels among the keys of transactions. */
export const channelPrefix = 'lockstep:channel:';

/** The keys without those that stand for channels: a message is no key's business, and nobody is told of one. */
export function withoutChannels(keys: readonly string[]): readonly string[] {
  return keys.filter((key) => !key.startsWith(channelPrefix));
}
