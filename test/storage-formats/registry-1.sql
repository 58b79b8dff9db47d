CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE shard_map (version INTEGER PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO meta (name, value) VALUES ('format', 1), ('proof', 7);
INSERT INTO shard_map (version, value) VALUES
  (1, '{"version":1,"shards":[{"shard":0,"placement":"default","ranges":[[0,16383]]}]}'),
  (3, '{"version":3,"shards":[{"shard":0,"placement":"default","ranges":[[0,99],[201,16383]]},{"shard":2,"placement":"default","ranges":[[100,200]]}]}');
