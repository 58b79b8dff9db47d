import type { z } from '@hono/zod-openapi';
import { problemKinds } from '../../shared/wire/problems.ts';
import { problemSchema } from '../../shared/wire/schemas.ts';

/** For OpenAPI: an address that needs a bearer token. */
export const secured = { security: [{ bearer: [] as string[] }] };

/** For OpenAPI: a required JSON body. */
export function jsonBody<Schema extends z.ZodType>(schema: Schema) {
  return { required: true, content: { 'application/json': { schema } } };
}

/** For OpenAPI: a JSON answer. */
export function jsonResponse<Schema extends z.ZodType>(description: string, schema: Schema) {
  return { description, content: { 'application/json': { schema } } };
}

/** For OpenAPI: the problems that an address answers, by status, each with the types that it can have. */
export function problemResponses(...statuses: readonly number[]) {
  return Object.fromEntries(statuses.map((status) => [status, problemResponse(status)]));
}

function problemResponse(status: number) {
  const kinds = Object.entries(problemKinds).filter(([, kind]) => kind.status === status);
  const types = kinds.map(([name, { title }]) => `\`/problems/${name}\`: ${title}.`);
  const [first] = kinds;
  const [name, kind] = first ?? ['internal', problemKinds.internal];
  const example = {
    type: `/problems/${name}`,
    title: kind.title,
    status,
    detail: kind.remedy,
    instance: '5f0c1c1e-8a55-4c0b-9f0e-0a4d2f6c7b11',
  };
  return {
    description: types.join(' '),
    content: { 'application/problem+json': { schema: problemSchema, example } },
  };
}
