/** Calls couriers and turns their failures into problems. */
import { UnfitVersion } from '../../../shared/contracts/rpc.ts';
import type { CourierApi, EndpointId } from '../../../shared/contracts/webhooks-and-feed.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import { retryLater, versionUnknown } from './coordinator-calls.ts';
import type { EdgeDependencies } from './dependencies.ts';

/** Calls the courier of `endpoint`, once. If the call throws, its outcome is unknown: `courier-unavailable`. */
export async function callCourier<Answer>(
  dependencies: EdgeDependencies,
  endpoint: EndpointId,
  call: (courier: CourierApi) => Promise<Answer>,
): Promise<Result<Answer>> {
  try {
    return success(await call(dependencies.courierOf(endpoint)));
  } catch (error) {
    dependencies.log('courier did not answer', { endpoint, error: String(error) });
    if (error instanceof UnfitVersion) return versionUnknown(error);
    const detail = 'The outcome is unknown. Check the webhook, then retry.';
    return failure('courier-unavailable', detail, {}, retryLater);
  }
}
