/** Makes the page of the HTTP API from the OpenAPI document. */
import type { ApiDocument, ApiOperation, JsonSchema } from './api-document.ts';
import { anchorOf, generatedNotice, markdownTable } from './markdown.ts';

const introduction = `# HTTP API

${generatedNotice}

The same as \`GET /openapi.json\`, which \`GET /docs\` shows with a form to try each request.
`;

const eventsHeading = 'Events of webhooks';
const schemasHeading = 'Schemas';

/** The page of the HTTP API, not yet formatted. */
export function apiPage(document: ApiDocument): string {
  const { info, tags, paths, webhooks, components } = document;
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      title: `${method.toUpperCase()} ${path}`,
      operation,
    })),
  );
  const groups = tags.map(({ name, description }) => {
    const own = operations.filter(({ operation }) => operation.tags.includes(name));
    return { name, description, own };
  });
  const overview = groups.flatMap(({ own }) =>
    own.map(({ title, operation }) => [
      `[\`${title}\`](#${anchorOf(title)})`,
      scopeOf(operation),
      operation.summary,
    ]),
  );
  return [
    introduction,
    `${info.description}\n`,
    markdownTable(['request', 'scope', 'summary'], overview),
    ...groups.map(({ name, description, own }) =>
      [
        `## ${name}\n\n${description}\n`,
        ...own.map(({ title, operation }) => operationSection(title, operation)),
      ].join('\n'),
    ),
    `## ${eventsHeading}\n`,
    ...Object.entries(webhooks).flatMap(([name, methods]) =>
      Object.values(methods).map((operation) => eventSection(name, operation)),
    ),
    `## ${schemasHeading}\n`,
    ...Object.entries(components.schemas).map(
      ([name, schema]) => `### ${name}\n\n${schemaText(schema)}`,
    ),
  ].join('\n');
}

function operationSection(title: string, operation: ApiOperation): string {
  const { summary, description, parameters, requestBody, responses } = operation;
  const scope = scopeOf(operation);
  const body = Object.entries(requestBody?.content ?? {});
  return [
    `### ${title}\n`,
    `${summary}. ${scope === '–' ? 'It needs no token.' : `Scope: \`${scope}\`.`}\n`,
    ...(description === undefined ? [] : [`${description}\n`]),
    ...(parameters.length === 0 ? [] : [parameterTable(parameters)]),
    ...body.map(
      ([type, { schema }]) =>
        `Body${requestBody?.required === true ? '' : ' (optional)'}: \`${type}\`, ${typeOf(schema ?? {})}.\n`,
    ),
    responseTable(responses),
    problemLines(responses),
  ].join('\n');
}

function parameterTable(parameters: ApiOperation['parameters']): string {
  const rows = parameters.map(({ name, in: place, required, description, schema }) => [
    `\`${name}\``,
    place,
    `${typeOf(schema)}${required === true ? ', required' : ''}`,
    longer(description, schema.description),
  ]);
  return markdownTable(['parameter', 'in', 'type', 'meaning'], rows);
}

/** A parameter and its schema may both have a description; the longer one includes the default. */
function longer(first = '', second = ''): string {
  return first.length >= second.length ? first : second;
}

type Responses = ApiOperation['responses'];

function isProblem({ content }: Responses[string]): boolean {
  return 'application/problem+json' in content;
}

function responseTable(responses: Responses): string {
  const rows = Object.entries(responses)
    .filter(([, response]) => !isProblem(response))
    .map(([status, { description, headers, content }]) => {
      const bodies = Object.entries(content).map(([type, { schema }]) =>
        type === 'application/json' ? typeOf(schema ?? {}) : `\`${type}\``,
      );
      const carried = Object.keys(headers).filter((name) => name !== 'X-Request-Id');
      const names = carried.map((name) => `\`${name}\``).join(', ');
      return [status, description, bodies.join(' or '), names];
    });
  return markdownTable(['status', 'when', 'body', 'headers'], rows);
}

/** The names of the problems per status, with links to their page. */
function problemLines(responses: Responses): string {
  const lines = Object.entries(responses)
    .filter(([, response]) => isProblem(response))
    .map(([status, { description }]) => {
      const names = [...description.matchAll(/`\/problems\/([a-z-]+)`/g)].map(
        ([, name]) => `[\`${name}\`](problems.md#${name})`,
      );
      return `- ${status} ${names.length === 0 ? description : names.join(', ')}`;
    });
  return lines.length === 0 ? '' : `Problems:\n\n${lines.join('\n')}\n`;
}

function eventSection(name: string, { description, requestBody }: ApiOperation): string {
  const schema = requestBody?.content['application/json']?.schema ?? {};
  return `### ${name}\n\n${description ?? ''}\n\n${schemaText(schema)}`;
}

function schemaText(schema: JsonSchema): string {
  const variants = schema.anyOf ?? [];
  if (variants.length > 0 && variants.every(({ properties }) => properties !== undefined)) {
    return `One of:\n\n${variants.map((variant) => fieldTable(variant)).join('\n<!-- or -->\n\n')}`;
  }
  const parts = schema.allOf ?? [];
  if (parts.length > 0) return `${parts.map((part) => partText(part)).join('\n')}`;
  return partText(schema);
}

function partText(schema: JsonSchema): string {
  if (schema.properties !== undefined) return fieldTable(schema);
  return schema.$ref === undefined ? `${typeOf(schema)}.\n` : `All of ${typeOf(schema)}, and:\n`;
}

function fieldTable(schema: JsonSchema): string {
  return markdownTable(['field', 'type', 'meaning'], fieldRows(schema, ''));
}

function fieldRows(schema: JsonSchema, prefix: string): readonly (readonly string[])[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const isRequired = schema.required?.includes(name) === true;
    const row = [
      `\`${prefix}${name}\``,
      `${typeOf(field)}${isRequired ? '' : ', optional'}`,
      field.description ?? '',
    ];
    const nested = field.items ?? field;
    const path = `${prefix}${name}${field.items === undefined ? '' : '[]'}.`;
    return [row, ...fieldRows(nested, path)];
  });
}

function typeOf(schema: JsonSchema): string {
  const { $ref, items, anyOf } = schema;
  if ($ref !== undefined) {
    const name = $ref.slice($ref.lastIndexOf('/') + 1);
    return `[${name}](#${anchorOf(name)})`;
  }
  if (schema.enum !== undefined) {
    return schema.enum.map((value) => `\`${JSON.stringify(value)}\``).join(' or ');
  }
  if (anyOf !== undefined) return [...new Set(anyOf.map(typeOf))].join(' or ');
  if (items !== undefined) {
    const most = schema.maxItems === undefined ? '' : ` (at most ${spelled(schema.maxItems)})`;
    return `list of ${typeOf(items)}${most}`;
  }
  const { type, additionalProperties } = schema;
  if (typeof additionalProperties === 'object') return `map to ${typeOf(additionalProperties)}`;
  if (type === undefined) return 'any JSON';
  return `${typeof type === 'string' ? type : type.join(' or ')}${boundsOf(schema)}`;
}

function boundsOf({ minimum, maximum, maxLength }: JsonSchema): string {
  if (maxLength !== undefined) return ` (at most ${spelled(maxLength)} characters)`;
  if (minimum !== undefined && maximum !== undefined) {
    return ` (${spelled(minimum)} to ${spelled(maximum)})`;
  }
  return '';
}

function spelled(value: number): string {
  return value.toLocaleString('en-US');
}

function scopeOf({ security }: ApiOperation): string {
  return security.flatMap(({ bearer = [] }) => bearer)[0] ?? '–';
}
