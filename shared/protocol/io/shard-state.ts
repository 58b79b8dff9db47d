/** What a shard has come to. One object, shared by all that moves it on. */
export interface ShardState {
  /** Of the members: it rises with each change of them. */
  epoch: number;
  /** Of the last change: a committed write, or a change of members. */
  sequence: number;
}
