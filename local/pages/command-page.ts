/** Makes the page of commands from the table by which they are compiled. */
import { type CommandGroup, type CommandRow, rewriteNotes } from '../../shared/commands/rows.ts';
import { commandTable } from '../../shared/commands/table.ts';
import { jsonNote } from '../../shared/commands/table-json.ts';
import { limits } from '../../shared/limits.ts';
import { generatedNotice, markdownTable } from './markdown.ts';

const introduction = `# Commands

${generatedNotice}

Every command of Redis 7.0, with its class, its cost and its restrictions.

- **write** changes keys: in \`POST /v1/writes\`, and by the protocol of Upstash. **read** changes nothing: in
  \`POST /v1/reads\`, by the protocol of Upstash, and also among the commands of a write, unless its row says otherwise.
- A write must have the same effect and the same reply in every region. Replies without an order are sorted. Commands
  that depend on a clock or on chance are rewritten or refused.
- Expiries later than ${limits.expiryMsMaximum.toLocaleString('en-US')} ms since 1970 are reduced to that time.
- The cost is the work of staging the command, besides running it. **elements**: it grows with the elements that the
  command names, returns or removes, but not with the size of their collection. **whole**: the value is copied with all
  of its elements; a command that reads costs this only after a change in the same write. **none**: nothing of the old
  value is copied. A collection of up to ${limits.elementsCopied} elements is copied in any case.
- A command with the cost _elements_ costs a copy of the whole if another command of the write needs the whole key, if a
  range or a count covers more than half of the collection or elements far from both ends of a list, or if the write also
  changes an expiry that the key has.
- Keys are text in UTF-8. Those that begin with \`lockstep:\` are refused.
- A user's script may call the same commands, except those that flush. Random choices, cursors and commands about all keys
  return the same in every region there.
- By the protocol of Upstash, Lockstep itself answers \`PING\`, \`ECHO\` and \`TIME\`, and supports \`SCRIPT\` with
  \`LOAD\`, \`EXISTS\` and \`FLUSH\`, although their rows refuse them.
`;

/** Titles of groups whose names have capitals of their own. */
const titles: Partial<Readonly<Record<CommandGroup, string>>> = {
  hyperloglog: 'HyperLogLog',
  json: 'JSON',
};

/** The page of commands, not yet formatted. */
export function commandPage(): string {
  const groups = [...new Set(commandTable.map(({ group }) => group))];
  return [introduction, ...groups.map(sectionOf)].join('\n');
}

function sectionOf(group: CommandGroup): string {
  const rows = commandTable.filter((row) => row.group === group);
  const taken = rows.filter((row) => row.class !== 'refused');
  const title = `## ${titles[group] ?? `${group.charAt(0).toUpperCase()}${group.slice(1)}`}\n`;
  const table = taken.length === 0 ? [] : [tableOf(taken)];
  const about = group === 'json' ? [`${jsonNote}\n`] : [];
  return [title, ...about, ...table, ...refusalsOf(rows)].join('\n');
}

function tableOf(rows: readonly CommandRow[]): string {
  const body = rows.map((row) => [`\`${row.name}\``, row.class, costOf(row), noteOf(row)]);
  return markdownTable(['command', 'class', 'cost in a write', 'notes'], body);
}

/** Commands that are staged without a copy of the old value. */
const copyless: ReadonlySet<string> = new Set(
  'DEL FLUSHALL FLUSHDB PSETEX PUBLISH SETEX UNLINK'.split(' '),
);

function costOf(row: CommandRow): string {
  if (row.class === 'refused' || (row.class === 'read' && row.refusedInWrites !== null)) return '';
  if (row.rewrite === 'script') return 'that of the commands it calls';
  if (row.addresses !== null) return 'elements';
  if (row.name === 'SET') return 'none; with NX, XX, GET or KEEPTTL whole';
  return copyless.has(row.name) ? 'none' : 'whole';
}

function noteOf(row: CommandRow): string {
  if (row.class === 'refused') return row.reason;
  const refusal = row.class === 'read' ? row.refusedInWrites : null;
  return [
    row.rewrite === null ? null : rewriteNotes[row.rewrite],
    refusal === null ? null : `Not in a write: ${refusal}.`,
    row.note,
  ]
    .filter((note) => note !== null)
    .join(' ');
}

/** A line per reason. */
function refusalsOf(rows: readonly CommandRow[]): readonly string[] {
  const byReason = new Map<string, string[]>();
  for (const row of rows) {
    if (row.class !== 'refused') continue;
    const names = byReason.get(row.reason) ?? [];
    byReason.set(row.reason, [...names, `\`${row.name}\``]);
  }
  if (byReason.size === 0) return [];
  const lines = [...byReason].map(([reason, names]) => `- ${names.join(', ')}: ${reason}.`);
  return ['Refused by name:\n', ...lines, ''];
}
