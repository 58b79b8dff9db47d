/** Orders regions by their distance from the client. */
import type { RegionConfiguration } from '../../../shared/contracts/members.ts';
import type { Location } from '../http/dependencies.ts';

const earthRadiusKm = 6_371;

/** The regions, the nearest to `location` first; in configured order if the location is unknown. */
export function byDistance(
  regions: readonly RegionConfiguration[],
  location: Location | null,
): readonly RegionConfiguration[] {
  if (location === null) return regions;
  return regions
    .map((region) => ({ region, km: distanceKm(region.location, location) }))
    .sort((a, b) => a.km - b.km)
    .map(({ region }) => region);
}

/** The great-circle distance in km, by the haversine formula. */
export function distanceKm(a: Location, b: Location): number {
  const [latitudeA, longitudeA] = a.map(radians) as [number, number];
  const [latitudeB, longitudeB] = b.map(radians) as [number, number];
  const squared =
    Math.sin((latitudeB - latitudeA) / 2) ** 2 +
    Math.cos(latitudeA) * Math.cos(latitudeB) * Math.sin((longitudeB - longitudeA) / 2) ** 2;
  return 2 * earthRadiusKm * Math.asin(Math.min(1, Math.sqrt(squared)));
}

function radians(degrees: number): number {
  return (degrees * Math.PI) / 180;
}
