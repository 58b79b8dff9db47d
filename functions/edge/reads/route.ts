/** `POST /v1/reads`, and the snapshot of read commands that other routes take as well. */
import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { compileReads } from '../../../shared/commands/compile.ts';
import { digestFrom, type ScriptLookup } from '../../../shared/commands/user-scripts.ts';
import { failure, type Result } from '../../../shared/http/problems.ts';
import {
  type Consistency,
  readAnswerSchema,
  readSchema,
  textsOf,
} from '../../../shared/http/schemas.ts';
import type { EdgeScripts } from '../cache/script-cache.ts';
import { type Guard, scriptsFault } from '../http/authenticate.ts';
import { readBody } from '../http/body.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import { jsonBody, jsonResponse, problemResponses, secured } from '../http/openapi.ts';
import { answerJson, answerProblem, type EdgeEnvironment } from '../http/respond.ts';
import { type ReadTarget, type RegionReader, readTargetOf } from './region-reader.ts';
import type { Snapshot } from './snapshot-read.ts';

const postRoute = createRoute({
  method: 'post',
  path: '/v1/reads',
  operationId: 'read',
  tags: ['Reads'],
  summary: 'Run several read commands as one snapshot, in the nearest region',
  description:
    'The nearest region with a lease answers a strong read (`via`: `lease`); without one, the read goes through the coordinator (`coordinator`). The headers Lockstep-Region and Lockstep-Via report the same.',
  ...secured('read'),
  request: { body: jsonBody(readSchema) },
  responses: {
    200: jsonResponse('One result per command', readAnswerSchema, [
      'Lockstep-Region',
      'Lockstep-Consistency',
      'Lockstep-Via',
    ]),
    ...problemResponses(400, 401, 403, 404, 413, 415, 422, 503, 504),
  },
});

/** `POST /v1/reads`. */
export function mountReads(
  app: OpenAPIHono<EdgeEnvironment>,
  dependencies: EdgeDependencies,
  { reader, scripts }: { readonly reader: RegionReader; readonly scripts: EdgeScripts },
  guard: Guard,
): void {
  app.openAPIRegistry.registerPath(postRoute);
  app.post(postRoute.getRoutingPath(), guard('read'), async (context) => {
    const body = await readBody(context.req.raw, readSchema);
    if (!body.ok) return answerProblem(context, body.problem);
    const { reads, consistency } = body.value;
    const target = readTargetOf(context, dependencies, body.value);
    const commands = reads.map(textsOf);
    const forbidden = scriptsFault(context.get('caller'), commands);
    if (forbidden !== null) return answerProblem(context, forbidden.problem);
    const fetched = await scripts.fetchMissing(digestsIn(commands));
    if (!fetched.ok) return answerProblem(context, fetched.problem);
    const snapshot = await takeSnapshot(reader, commands, target, scripts.lookup);
    if (!snapshot.ok) return answerProblem(context, snapshot.problem);
    const results: unknown[] = [];
    for (const [index, reply] of snapshot.value.replies.entries()) {
      if (!reply.ok) {
        const detail = `reads[${index}] (${reads[index]?.[0]}) failed: ${reply.error}`;
        const members = { index, error: reply.error };
        return answerProblem(context, failure('command-failed', detail, members).problem);
      }
      results.push(reply.reply);
    }
    const { region, attempts, via } = snapshot.value;
    const answer = { results, region, consistency, via, attempts };
    return answerJson(answer, 200, snapshotHeaders(snapshot.value, consistency));
  });
}

function digestsIn(commands: readonly (readonly string[])[]): readonly string[] {
  return commands.flatMap(([name = '', given = '']) => {
    const sha = /^EVALSHA_RO$/i.test(name) ? digestFrom(given) : null;
    return sha === null ? [] : [sha];
  });
}

/** Compiles the commands and takes a snapshot of them. */
export async function takeSnapshot(
  reader: RegionReader,
  reads: readonly (readonly string[])[],
  target: ReadTarget,
  scripts?: ScriptLookup,
): Promise<Result<Snapshot>> {
  const compiled = compileReads(reads, scripts);
  if (!compiled.ok) return failure(compiled.problem, compiled.detail);
  return reader.read({ keys: compiled.keys, commands: compiled.commands, ...target });
}

/** The headers with the region that answered, the consistency, and the path of the read. */
export function snapshotHeaders(
  { region, via }: Snapshot,
  consistency: Consistency,
): Readonly<Record<string, string>> {
  return {
    'Lockstep-Region': region,
    'Lockstep-Consistency': consistency,
    'Lockstep-Via': via,
  };
}
