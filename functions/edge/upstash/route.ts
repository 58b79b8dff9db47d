/** Serves the REST protocol of Upstash: authenticates, parses, executes, and encodes the reply. */
import { planOf } from '../../../shared/upstash/plan.ts';
import {
  bytesOf,
  encodeElement,
  encodeElements,
  type UpstashFormat,
} from '../../../shared/upstash/replies.ts';
import {
  isUpstashPath,
  parseUpstash,
  tokenInQuery,
  type UpstashAsked,
  type UpstashRefusal,
} from '../../../shared/upstash/request.ts';
import { parseStream } from '../../../shared/upstash/streams.ts';
import type { Authenticate } from '../http/authenticate.ts';
import { readBytes } from '../http/body.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import { clientKeyOf } from '../http/idempotency.ts';
import { rawTarget } from '../http/raw-target.ts';
import type { AuthenticatedCaller, EdgeContext } from '../http/respond.ts';
import { readTargetOf } from '../reads/region-reader.ts';
import { runPipeline, runTransaction } from './execute.ts';
import type { UpstashRun } from './request.ts';
import { UpstashStreams } from './streams.ts';

/** The memory of an isolate that this dialect uses. */
type UpstashMemory = Pick<UpstashRun, 'reader' | 'scripts' | 'sender'>;

/** A response in the format of Upstash. */
interface PlannedReply {
  readonly status: number;
  readonly body: string;
  readonly format: UpstashFormat;
  readonly wrote: boolean;
  readonly headers: Readonly<Record<string, string>>;
}

/** Sync tokens that are returned unchanged: printable ASCII, which is safe in a header. */
const syncToken = /^[\x21-\x7e]{1,200}$/;

/**
 * Serves the REST protocol of Upstash on every path that is not Lockstep's own, so that its clients only need another
 * URL. Errors are `{"error": text}`, as its clients expect, instead of problems.
 */
export function serveUpstash(
  dependencies: EdgeDependencies,
  memory: UpstashMemory,
  authenticate: Authenticate,
): (context: EdgeContext) => Promise<Response> {
  const streams = new UpstashStreams(dependencies, memory.reader);
  return async (context) => {
    const target = rawTarget(context.req.url);
    const [path = '/'] = target.split('?', 1);
    if (!isUpstashPath(path)) return context.notFound();
    try {
      const token = context.req.header('authorization') ?? `Bearer ${tokenInQuery(target) ?? ''}`;
      const caller = await authenticate(token);
      if (!caller.ok) {
        const error = 'WRONGPASS invalid or missing auth token';
        return refuse(context, dependencies, { status: 401, error });
      }
      context.set('caller', caller.value);
      const { scope } = caller.value;
      const stream = parseStream(context.req.method, target, scope);
      if (stream !== null) {
        const served = 'error' in stream ? stream : await streams.serve(context, stream);
        return served instanceof Response ? served : refuse(context, dependencies, served);
      }
      return await answer(context, dependencies, memory, target, caller.value);
    } catch (error) {
      const id = context.get('requestId');
      dependencies.log('request failed', { requestId: id, error: String(error) });
      const text = `ERR internal error in Lockstep. Report it with the request id ${id}.`;
      return send(context, dependencies, refused(500, text));
    }
  };
}

async function answer(
  context: EdgeContext,
  dependencies: EdgeDependencies,
  memory: UpstashMemory,
  target: string,
  caller: AuthenticatedCaller,
): Promise<Response> {
  const format = formatOf(context);
  if (typeof format !== 'string') return refuse(context, dependencies, format);
  const consistency = (context.req.header('lockstep-consistency') ?? 'strong').toLowerCase();
  if (consistency !== 'strong' && consistency !== 'local') {
    const error = 'ERR the header Lockstep-Consistency is strong or local';
    return refuse(context, dependencies, { status: 400, error });
  }
  const body = await readBytes(context.req.raw);
  if (!body.ok) {
    const error = `ERR max request size exceeded. ${body.problem.detail}`;
    return refuse(context, dependencies, { status: 413, error });
  }
  const asked = parseUpstash({ method: context.req.method, target, body: body.value });
  if ('error' in asked) return refuse(context, dependencies, asked);
  const key = await clientKeyOf(context, () => asked);
  if (!key.ok) {
    const error = `ERR ${key.problem.detail}`;
    return refuse(context, dependencies, { status: 400, error });
  }
  const readTarget = readTargetOf(context, dependencies, { consistency });
  const run = { dependencies, ...memory, target: readTarget, key: key.value };
  return send(context, dependencies, await carryOut(run, asked, caller, format));
}

async function carryOut(
  run: UpstashRun,
  asked: UpstashAsked,
  caller: AuthenticatedCaller,
  format: UpstashFormat,
): Promise<PlannedReply> {
  const now = run.dependencies.now();
  const planned = asked.commands.map((command) => ({
    command,
    plan: planOf(command, now, caller, run.scripts.forms),
  }));
  if (asked.kind === 'transaction') {
    // Upstash answers transactions only in JSON.
    const json = format === 'resp2' ? 'json' : format;
    const outcome = await runTransaction(run, planned);
    if (outcome.kind === 'discarded') return refused(outcome.status, outcome.error);
    return { status: 200, ...outcome, body: encodeElements(outcome.elements, json), format: json };
  }
  const outcome = await runPipeline(run, planned);
  if (asked.kind === 'pipeline') {
    return { status: 200, ...outcome, body: encodeElements(outcome.elements, format), format };
  }
  const element = outcome.elements[0] ?? { error: 'ERR empty command', status: 400 };
  const status = 'error' in element ? element.status : 200;
  return { status, ...outcome, body: encodeElement(element, format), format };
}

function formatOf(context: EdgeContext): UpstashFormat | UpstashRefusal {
  const encoding = context.req.header('upstash-encoding')?.toLowerCase();
  const format = (context.req.header('upstash-response-format') ?? 'json').toLowerCase();
  const isBase64 = encoding === 'base64';
  if (format === 'json') return isBase64 ? 'base64' : 'json';
  if (format !== 'resp2') {
    return { status: 400, error: 'ERR the header Upstash-Response-Format is json or resp2' };
  }
  if (!isBase64) return 'resp2';
  const error = 'ERR Upstash-Encoding base64 is not permitted with Upstash-Response-Format resp2';
  return { status: 400, error };
}

function refused(status: number, error: string): PlannedReply {
  const body = encodeElement({ error, status }, 'json');
  return { status, body, format: 'json', wrote: false, headers: {} };
}

function refuse(
  context: EdgeContext,
  dependencies: EdgeDependencies,
  { status, error }: UpstashRefusal,
): Response {
  const headers: PlannedReply['headers'] =
    status === 405 ? { Allow: 'GET, HEAD, OPTIONS, POST, PUT' } : {};
  return send(context, dependencies, { ...refused(status, error), headers });
}

function send(context: EdgeContext, dependencies: EdgeDependencies, reply: PlannedReply): Response {
  const given = context.req.header('upstash-sync-token') ?? '';
  // Clients return the token to read their own writes. Reads here are strong without it; it only has to change on a
  // write.
  const token = reply.wrote || !syncToken.test(given) ? dependencies.uuid() : given;
  const isBinary = reply.format === 'resp2';
  return new Response(isBinary ? bytesOf(reply.body) : reply.body, {
    status: reply.status,
    headers: {
      'Content-Type': isBinary ? 'application/octet-stream' : 'application/json',
      'Cache-Control': 'no-store',
      'Upstash-Sync-Token': token,
      ...reply.headers,
    },
  });
}
