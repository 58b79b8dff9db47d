-- The storage of a courier of release 0.1, with a delivery of each state.
CREATE TABLE endpoint (
  one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, url TEXT NOT NULL, secret TEXT,
  previous_secret TEXT, previous_until INTEGER NOT NULL DEFAULT 0, private_key TEXT NOT NULL,
  failing_since INTEGER, rest_until INTEGER NOT NULL DEFAULT 0,
  disabled_at INTEGER, disabled_reason TEXT, told INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE delivery (
  position INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL UNIQUE, type TEXT NOT NULL, at INTEGER NOT NULL,
  body TEXT NOT NULL, state TEXT NOT NULL, since INTEGER NOT NULL, due_at INTEGER, step INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0, status INTEGER, ms INTEGER, answer TEXT, last_attempt_at INTEGER
);
CREATE INDEX due ON delivery (due_at, position) WHERE state = 'waiting';
CREATE INDEX ended ON delivery (since) WHERE state <> 'waiting';
CREATE INDEX by_state ON delivery (state, position);
INSERT INTO endpoint (one, id, url, secret, private_key) VALUES (1, 'cb_1', 'https://receiver.example.com/hook', 'whsec_old', '{}');
INSERT INTO delivery (event, type, at, body, state, since, due_at) VALUES
  ('evt_0', 'write.committed', 1, '{}', 'waiting', 1, 1), ('evt_1', 'write.committed', 1, '', 'delivered', 1, NULL),
  ('evt_2', 'write.committed', 1, '{}', 'failed', 1, NULL);
