/** Makes the page of configuration from the schemas by which the Worker checks variables and secrets. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { settingsSchema } from '../../functions/courier/settings.ts';
import { environmentSchema } from '../../shared/config/configuration.ts';
import { duration } from './limit-page.ts';
import { generatedNotice, markdownTable } from './markdown.ts';

const requiredMark = 'required';

const introduction = `# Configuration

${generatedNotice}

Variables stand in \`[vars]\` of \`wrangler.toml\`. Secrets are set with \`wrangler secret put <name>\`; \`.dev.vars.example\`
shows their form. If a variable is wrong, every address returns the problem
[\`configuration-invalid\`](problems.md#configuration-invalid), which names the variable and the rule that it breaks, and never
its value.
`;

/** The part of a JSON Schema that the page shows. */
const formSchema = z.object({
  type: z.string().optional(),
  enum: z.array(z.string()).optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  description: z.string(),
});
type Form = z.infer<typeof formSchema>;

/** The page of configuration, not yet formatted. */
export function configurationPage(): string {
  const schemas = Object.entries({ ...environmentSchema.shape, ...settingsSchema.shape });
  const secrets = secretNames();
  const all = schemas.map(([name, schema]) => {
    // A value that is parsed from text has no JSON Schema; its input is text.
    const json = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
    const form = formSchema.parse(json, { error: () => `${name} lacks a description` });
    const unset = schema.safeParse(undefined);
    const initial = unset.success ? unset.data : requiredMark;
    return { name, isSecret: secrets.includes(name), form, initial };
  });
  const rowsOf = (secret: boolean) =>
    all
      .filter(({ isSecret }) => isSecret === secret)
      .map(({ name, form, initial }) => [
        quoted(name),
        typeOf(name, initial, form),
        initialOf(name, initial),
        form.description,
      ]);
  const head = ['name', 'type', 'default', 'meaning'];
  return [
    introduction,
    '## Variables\n',
    markdownTable(head, rowsOf(false)),
    '## Secrets\n',
    markdownTable(head, rowsOf(true)),
  ].join('\n');
}

function secretNames(): readonly string[] {
  const list = /^required = \[(.*)\]$/m.exec(readFileSync('wrangler.toml', 'utf8'))?.[1];
  if (list === undefined) throw new Error('wrangler.toml lists no required secrets');
  return [...list.matchAll(/"(\w+)"/g)].map(([, name = '']) => name);
}

function typeOf(
  name: string,
  initial: unknown,
  { type, enum: values, minimum, maximum }: Form,
): string {
  if (initial === requiredMark) return 'JSON';
  if (values !== undefined)
    return values
      .filter((value) => value !== '')
      .map(quoted)
      .join(', ');
  if (type !== 'integer' && type !== 'number') return name.endsWith('_MS') ? 'list of ms' : 'text';
  const unit = name.endsWith('_MS') ? ' of ms' : name.endsWith('_BYTES') ? ' of bytes' : '';
  const spelled = (value = 0) =>
    name.endsWith('_MS') ? duration(value) : value.toLocaleString('en-US');
  return `whole number${unit}, ${spelled(minimum)} to ${spelled(maximum)}`;
}

function initialOf(name: string, initial: unknown): string {
  if (initial === requiredMark) return requiredMark;
  if (initial === undefined || initial === '') return '–';
  if (Array.isArray(initial)) return quoted(initial.join(','));
  const value = Number(initial);
  const isLong = name.endsWith('_MS') && value >= 1_000;
  return isLong ? `${quoted(String(value))} (${duration(value)})` : quoted(String(initial));
}

function quoted(text: string): string {
  return `\`${text}\``;
}
