-- The storage of a courier of format 2, between the releases 0.1 and 0.2, with a delivery of each state.
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE endpoint (
  one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, url TEXT NOT NULL, secret TEXT,
  previous_secret TEXT, previous_until INTEGER NOT NULL DEFAULT 0, private_key TEXT NOT NULL,
  failing_since INTEGER, rest_until INTEGER NOT NULL DEFAULT 0,
  disabled_at INTEGER, disabled_reason TEXT, told INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE delivery (
  position INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL UNIQUE, type TEXT NOT NULL, at INTEGER NOT NULL,
  body TEXT NOT NULL, state TEXT NOT NULL, since INTEGER NOT NULL, due_at INTEGER, step INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0, status INTEGER, ms INTEGER, answer TEXT, last_attempt_at INTEGER,
  history TEXT NOT NULL DEFAULT '[]'
);
CREATE INDEX due ON delivery (due_at, position) WHERE state = 'waiting';
CREATE INDEX ended ON delivery (since) WHERE state <> 'waiting';
CREATE INDEX by_state ON delivery (state, position);
INSERT INTO meta (name, value) VALUES ('format', 2);
INSERT INTO endpoint (one, id, url, secret, private_key, failing_since) VALUES
  (1, 'cb_1', 'https://receiver.example.com/hook', 'whsec_old', '{}', 3);
INSERT INTO delivery (event, type, at, body, state, since, due_at, step, attempts, status, ms, answer, last_attempt_at, history) VALUES
  ('evt_0', 'write.committed', 1, '{"new":"ü"}', 'waiting', 1, 1, 0, 0, NULL, NULL, NULL, NULL, '[]'),
  ('evt_1', 'write.confirmed', 2, '{"id":1}', 'delivered', 2, NULL, 1, 1, 200, 4, 'taken', 2, '[{"at":2,"status":200,"ms":4,"answer":"taken"}]'),
  ('evt_2', 'write.aborted', 3, '{"id":2}', 'waiting', 3, 90, 1, 1, NULL, 5, 'no connection', 3, '[{"at":3,"status":null,"ms":5,"answer":"no connection"}]'),
  ('evt_3', 'write.committed', 4, '{"id":3}', 'failed', 4, NULL, 1, 1, 410, 6, 'gone', 4, '[{"at":4,"status":410,"ms":6,"answer":"gone"}]');
