/** The newest epoch and sequence of a shard. One object, shared by all parts that raise them. */
export interface ShardState {
  /** Of the members: it rises with each change of them. */
  epoch: number;
  /** Of the last change: a committed write, or a change of members. */
  sequence: number;
}
