import type { RegionId, ShardId } from '../../shared/ids.ts';
import type { RegionClient } from '../../shared/protocol/round.ts';
import type { CoordinatorApi } from '../../shared/wire/answers.ts';
import type { Configuration } from '../../shared/wire/configuration.ts';

/** Latitude and longitude in degrees. */
export type Location = readonly [latitude: number, longitude: number];

/** All that the edge needs of the world, so that a test can stand in for it. */
export interface EdgeDependencies {
  readonly configuration: Configuration;
  /** Its methods throw where the object cannot be reached, was reset, or is overloaded. */
  coordinatorOf(shard: ShardId): CoordinatorApi;
  /** A client of a configured region. */
  regionOf(id: RegionId): RegionClient;
  /** Where the client is, or null where nobody knows. */
  locate(request: Request): Location | null;
  /** A file of the API's documentation page. */
  asset(path: string): Promise<Response>;
  /** ms, for measuring only. */
  now(): number;
  /** A fresh UUID v7. */
  uuid(): string;
  /** For operators: what went wrong, without secrets. */
  log(message: string, details: Readonly<Record<string, unknown>>): void;
}

/** The only shard today. Where there are more, the slot of the first key says which. */
export const onlyShard: ShardId = 0;
