/** Checks the URLs of webhooks and callbacks against the rules for targets. */
import type { z } from '@hono/zod-openapi';
import type { Callback, EndpointId } from '../../../shared/contracts/webhooks-and-feed.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import type { callbackSchema } from '../../../shared/http/webhook-schemas.ts';
import { checkTarget, ownHostOf } from '../../../shared/webhooks/target.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import type { EdgeContext } from '../http/respond.ts';

type Rules = Pick<EdgeDependencies, 'targetPolicy'>;

/**
 * The URL in canonical form, or the problem `target-refused`. The courier checks it again before each attempt. The host
 * of the request counts as Lockstep's own, even if it is not configured.
 */
export function targetOf(
  url: string,
  { targetPolicy }: Rules,
  context: EdgeContext,
): Result<string> {
  const { allowLoopback, allowedHosts, ownHosts } = targetPolicy;
  const here = ownHostOf(new URL(context.req.url));
  const policy = { allowLoopback, allowedHosts, ownHosts: [...ownHosts, here] };
  const checked = checkTarget(url, policy);
  // The problem does not repeat the URL, which may contain a secret of the receiver.
  return checked.ok ? success(checked.url) : failure('target-refused', checked.reason);
}

/** The callback of a write, or null without one. */
export async function callbackOf(
  asked: z.infer<typeof callbackSchema> | undefined,
  rules: Rules,
  context: EdgeContext,
): Promise<Result<Callback | null>> {
  if (asked === undefined) return success(null);
  const target = targetOf(asked.url, rules, context);
  if (!target.ok) return target;
  const { events, values } = asked;
  const secret = asked.secret ?? null;
  const endpoint = await callbackEndpoint(target.value, secret);
  return success({ endpoint, url: target.value, secret, events, values });
}

/** An endpoint id by URL and secret: equal callbacks share a courier, and so their order, pauses and log. */
async function callbackEndpoint(url: string, secret: string | null): Promise<EndpointId> {
  const bytes = new TextEncoder().encode(`${url}\n${secret ?? ''}`);
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  const base64 = btoa(String.fromCharCode(...digest));
  return `cb_${base64.replaceAll('+', '-').replaceAll('/', '_').slice(0, 22)}`;
}
