import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CoordinatorStorage } from '../../functions/coordinator/storage/coordinator-storage.ts';
import { LoanStorage } from '../../functions/coordinator/storage/loan-storage.ts';
import { CourierStorage } from '../../functions/courier/storage.ts';
import { projectDirectory } from '../../local/stack/bundle.ts';
import { MemoryStorage } from './sqlite.ts';
import { retention } from './stored.ts';

/**
 * The statements that may scan a whole table or sort it, by their beginning, and why. Each of them runs once in the
 * life of an object, or on behalf of an operator. Every other statement has to find its rows by an index.
 */
const exceptions: Readonly<Record<string, string>> = {
  'SELECT endpoint, count(*) AS count, max(position) AS newest FROM outbox':
    'counts once, at the start of a life',
  'SELECT value FROM subscription': 'reads a table of at most as many rows as limits.subscriptions',
  'SELECT token, count(*) AS count FROM request':
    'counts at most limits.requestsKept rows, once per life',
  'SELECT * FROM signing_key LIMIT 1': 'reads a table of one row',
  'SELECT * FROM endpoint': 'reads a table of one row',
  'SELECT name FROM pragma_table_info': 'reads the columns of a table, once per life',
  'SELECT 1 FROM sqlite_master': 'reads the list of tables',
  'UPDATE endpoint SET': 'writes a table of one row',
  'SELECT * FROM loan': 'reads the open loans, once per life',
  'SELECT * FROM member ORDER BY id': 'reads one row per region, once per life',
  'SELECT region, key, sequence FROM missed':
    'reads the missed keys of every region, once per life',
  'SELECT key, detail FROM blocked': 'reads the blocked keys, once per life',
  'SELECT id, value FROM region_address': 'reads one row per region, once per life',
  'SELECT sha, text, loaded, added FROM script': 'reads the scripts, once per life',
  'DELETE FROM script': 'SCRIPT FLUSH drops all of them',
  'SELECT position FROM log ORDER BY position': 'reads one row from one end',
  'SELECT last FROM log_index ORDER BY last': 'reads one row from one end',
  'SELECT position, parts, at, sequence, incarnation, number FROM log':
    'reads a few rows from one end',
  'SELECT position FROM log WHERE parts > 0': 'reads the rows of one step from one end',
  'SELECT first, last FROM log_index WHERE':
    'reads one row per limits.stepsPerIndex steps, and their range before their fingerprints',
  'SELECT id, counter, mark FROM member': 'reads one row per region, at a conversion',
  'SELECT sequence FROM change_log ORDER BY': 'reads one row from one end, at a conversion',
  'DELETE FROM member_history WHERE sequence <=': 'keeps limits.memberChangesKept rows',
};

/** The SQL of a file: every string or template that begins with a statement's first word. */
function statementsOf(file: string): readonly string[] {
  const source = readFileSync(join(projectDirectory, file), 'utf8').replaceAll(
    /^\s*(?:\/\/|\/?\*).*$/gm,
    '',
  );
  const texts = [...source.matchAll(/`([^`]*)`|"([^"\n]*)"|'((?:[^'\\\n]|\\.)*)'/g)].map(
    ([, template, double, single]) => template ?? double ?? single ?? '',
  );
  return texts
    .map((text) =>
      text.replaceAll(/\$\{(\w+)\}/g, (hole, name) => constantOf(source, name) ?? hole),
    )
    .map((text) => text.replaceAll(/\s+/g, ' ').trim())
    .filter((text) => /^(?:SELECT|INSERT|UPDATE|DELETE|WITH)\b/.test(text));
}

/** The text of a constant that statements of a file share. */
function constantOf(source: string, name: string): string | undefined {
  return new RegExp(`const ${name} = [\`']([^\`']*)[\`'];`).exec(source)?.[1];
}

const files = globSync('functions/{coordinator,courier,platform}/**/*.ts', {
  cwd: projectDirectory,
});
const statements = files.flatMap((file) => statementsOf(file).map((text) => ({ file, text })));

/** The tables of format 2 that a conversion reads and drops. */
const formatTwo = `
  CREATE TABLE decision (
    incarnation INTEGER NOT NULL, number INTEGER NOT NULL, keys TEXT NOT NULL, sequence INTEGER NOT NULL,
    confirmed_at INTEGER, PRIMARY KEY (incarnation, number)
  ) WITHOUT ROWID;
  CREATE TABLE write (
    id TEXT PRIMARY KEY, incarnation INTEGER NOT NULL, number INTEGER NOT NULL, decided_at INTEGER NOT NULL,
    record TEXT NOT NULL, part BLOB, idempotency_key TEXT, digest TEXT, kept_until INTEGER, rejected INTEGER
  ) WITHOUT ROWID;
  CREATE UNIQUE INDEX idempotency ON write (idempotency_key) WHERE idempotency_key IS NOT NULL;
  CREATE TABLE change_log (
    sequence INTEGER PRIMARY KEY, write_id TEXT, incarnation INTEGER, number INTEGER, decided_at INTEGER NOT NULL,
    keys TEXT NOT NULL, commands TEXT NOT NULL, callback TEXT, member TEXT
  );
  CREATE INDEX change_log_transaction ON change_log (incarnation, number);
  CREATE TABLE owed (
    position INTEGER PRIMARY KEY AUTOINCREMENT, endpoint TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL,
    at INTEGER NOT NULL, body TEXT NOT NULL
  );
`;

/** The SQLite of a coordinator, and that of a courier. */
function storages(): Readonly<Record<'coordinator' | 'courier', MemoryStorage>> {
  const coordinator = new MemoryStorage();
  new CoordinatorStorage(coordinator, retention, 0).begin(1);
  coordinator.sql.exec(formatTwo);
  const name = { shard: 1, birth: 1, incarnation: 1, sequence: 1 };
  // Its table is made with the first loan.
  new LoanStorage(coordinator).add({ transaction: [1, 1], name, keys: ['k'] });
  const courier = new MemoryStorage();
  const target = { id: 'cb_1', url: '', secret: null };
  const signingKey = { id: '', privateKey: '', publicKey: '' };
  new CourierStorage(courier).setTarget({ ...target, signingKey });
  // That of an older release, which is only converted.
  courier.sql.exec('CREATE TABLE delivery (position INTEGER PRIMARY KEY AUTOINCREMENT)');
  return { coordinator, courier };
}

function planOf(memory: MemoryStorage, text: string): readonly string[] {
  return memory.sql
    .exec<{ detail: string }>(`EXPLAIN QUERY PLAN ${text}`)
    .toArray()
    .map(({ detail }) => detail);
}

function isExcepted(text: string): boolean {
  return Object.keys(exceptions).some((beginning) => text.startsWith(beginning));
}

describe('the plan of every statement on an object’s SQLite', () => {
  const { coordinator, courier } = storages();

  it('is checked: each statement is a single text', () => {
    expect(statements.length).toBeGreaterThan(50);
    for (const { file, text } of statements) {
      expect(text, `${file}: a statement is one text, so that its plan can be seen`).not.toContain(
        '${',
      );
    }
  });

  it.each(statements.filter(({ text }) => !isExcepted(text)))(
    'finds its rows by an index: $text',
    ({ file, text }) => {
      const memory = file.startsWith('functions/courier/') ? courier : coordinator;
      for (const detail of planOf(memory, text)) {
        expect(detail).not.toMatch(/^SCAN (?!CONSTANT ROW)/);
        expect(detail).not.toContain('TEMP B-TREE');
        expect(detail).not.toContain('AUTOMATIC');
      }
    },
  );

  it.each(Object.keys(exceptions))('is excepted only if the statement exists: %s', (beginning) => {
    expect(statements.some(({ text }) => text.startsWith(beginning))).toBe(true);
  });
});
