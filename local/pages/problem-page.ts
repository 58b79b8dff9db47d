/** Makes the page of problem types from the table by which the Worker answers. */
import { problemKinds } from '../../shared/http/problems.ts';
import { generatedNotice, markdownTable } from './markdown.ts';

const example = problemKinds['check-failed'];

const introduction = `# Problems

${generatedNotice}

Lockstep returns errors as problem details ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)), with the content type
\`application/problem+json\`. \`type\` is \`/problems/\` followed by a name of this page. It is stable, and
\`GET /problems/<name>\` returns the same text as JSON. \`detail\` gives the cause and the remedy for this request, and \`instance\` is
the id of the request, which every response carries as \`X-Request-Id\`.

\`\`\`sh
curl $URL/problems/check-failed
\`\`\`

\`\`\`
{"type":"/problems/check-failed","title":"${example.title}","status":${example.status},
 "remedy":"${example.remedy}"}
\`\`\`

Send an \`Idempotency-Key\` with every write whose response you might lose.
`;

/** The page of problems, not yet formatted. */
export function problemPage(): string {
  const all = Object.entries(problemKinds).toSorted(
    ([a, { status: left }], [b, { status: right }]) => left - right || (a < b ? -1 : 1),
  );
  const rows = all.map(([name, { status, title }]) => [
    `[\`${name}\`](#${name})`,
    `${status}`,
    title,
  ]);
  const sections = all.map(
    ([name, { status, title, remedy }]) => `## ${name}\n\n**${status}** ${title}.\n\n${remedy}\n`,
  );
  return [introduction, markdownTable(['type', 'status', 'when'], rows), ...sections].join('\n');
}
