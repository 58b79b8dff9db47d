/** Calls couriers and turns their failures into problems. */
import {
  type AnswerOf,
  type ArgumentsOf,
  type Callable,
  UnfitVersion,
} from '../../../shared/contracts/rpc.ts';
import type { CourierApi, EndpointId } from '../../../shared/contracts/webhooks-and-feed.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import { retryLater, versionUnknown } from './coordinator-calls.ts';
import type { EdgeDependencies } from './dependencies.ts';

/** Dependencies with couriers that have the method `Name`. */
type Dependencies<Name extends keyof CourierApi> = Pick<EdgeDependencies, 'log'> & {
  courierOf(endpoint: EndpointId): Callable<CourierApi, Name>;
};

/** Calls a method of the courier of `endpoint`, once. If it throws, its outcome is unknown: `courier-unavailable`. */
export async function callCourier<Name extends keyof CourierApi>(
  dependencies: Dependencies<Name>,
  endpoint: EndpointId,
  method: Name,
  ...values: ArgumentsOf<CourierApi, Name>
): Promise<Result<AnswerOf<CourierApi, Name>>> {
  try {
    return success(await dependencies.courierOf(endpoint)[method](...values));
  } catch (error) {
    dependencies.log('courier did not answer', { endpoint, method, error: String(error) });
    if (error instanceof UnfitVersion) return versionUnknown(error);
    const detail = 'The outcome is unknown. Check the webhook, then retry.';
    return failure('courier-unavailable', detail, {}, retryLater);
  }
}
