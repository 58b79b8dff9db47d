import { type CommandGroup, type CommandRow, rewriteNotes } from '../../shared/commands/rows.ts';
import { commandTable } from '../../shared/commands/table.ts';
import { jsonNote } from '../../shared/commands/table-json.ts';
import { limits } from '../../shared/limits.ts';
import { generatedNotice, markdownTable } from './markdown.ts';

/** The page of all commands, made from the table that compiles them. */

const introduction = `# Commands

${generatedNotice}

Every command of Redis 7.0, and what becomes of it.

- **write** changes keys: in \`POST /v1/writes\`, and by the protocol of Upstash. **read** changes nothing: in
  \`POST /v1/reads\`, by the protocol of Upstash, and also among the commands of a write, unless its row says otherwise.
- A write's command has to give the same in every region. Replies without an order are sorted; what depends on a clock or
  on chance is rewritten or refused.
- Moments lie before 2^53 ms since the epoch, where Redis takes later ones too.
- The cost is what a region does to stage the command, beside running it. **elements**: it grows with the elements that
  the command names, is answered or removes, and not with their collection. **whole**: the value is copied, and of a
  collection all elements; a command that reads costs that only after a change in the same write. **none**: nothing of the
  old value is copied. A collection of up to ${limits.elementsCopied} elements is copied anyway.
- What stages _elements_ comes to a copy of the whole where a command of the same write takes the whole of the key, where
  a range or a count goes beyond half of the collection or to elements far from both ends of a list, and where the expiry
  of a key that has one is changed together with it.
- Keys are text in UTF-8. Those that begin with \`lockstep:\` are refused.
- A user's script may call the same commands, but for those that flush. Random choices, cursors and looks at all keys are
  answered alike in every region there.
- By the protocol of Upstash, Lockstep itself answers \`PING\`, \`ECHO\` and \`TIME\`, and takes \`SCRIPT\` with \`LOAD\`,
  \`EXISTS\` and \`FLUSH\`, although their rows refuse them.
`;

/** Of the groups whose names have capitals of their own. */
const titles: Partial<Readonly<Record<CommandGroup, string>>> = {
  hyperloglog: 'HyperLogLog',
  json: 'JSON',
};

/** The generated page of commands, not yet formatted. */
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
  return markdownTable(['command', 'is a', 'cost in a write', 'what to know'], body);
}

/** What stages the command without a copy of what was there. */
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

/** One line for each reason. */
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
