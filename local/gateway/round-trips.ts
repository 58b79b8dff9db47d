/** The simulated places of local regions, and the round trips to them. */

/** The simulated place of a local region. */
export interface Coordinates {
  readonly id: string;
  /** Latitude and longitude in degrees. */
  readonly location: readonly [latitude: number, longitude: number];
  /** The round trip from the coordinator, in us-east-1, in ms, as measured between AWS regions in June 2020. */
  readonly awsRttMs: number;
}

/**
 * The places of local regions. The coordinator is at the first, and regions never talk to each other, so only its row
 * of the matrix of round trips is needed.
 */
export const places: readonly Coordinates[] = [
  { id: 'us-east-1', location: [38.9, -77.4], awsRttMs: 0.3 },
  { id: 'eu-west-1', location: [53.3, -6.3], awsRttMs: 70.5 },
  { id: 'ap-northeast-1', location: [35.7, 139.7], awsRttMs: 152.4 },
  { id: 'sa-east-1', location: [-23.5, -46.6], awsRttMs: 113.0 },
  { id: 'ap-southeast-2', location: [-33.9, 151.2], awsRttMs: 198.0 },
];

/** The round trips that gateways add: none, those between AWS regions, or the same number of ms for all. */
export type RoundTrips = 'none' | 'aws' | number;

const roundTripMsMaximum = 10_000;

/**
 * The first `count` places.
 *
 * @throws Error with a message for users if `count` is not an integer from 1 to 5.
 */
export function placesFor(count: number): readonly Coordinates[] {
  if (!Number.isInteger(count) || count < 1 || count > places.length) {
    throw new Error(
      `--regions takes a number from 1 to ${places.length}, one for each known place.`,
    );
  }
  return places.slice(0, count);
}

/**
 * Parses `--rtt none|aws|<ms>`.
 *
 * @throws Error with a message for users if `text` has another form.
 */
export function parseRoundTrips(text: string): RoundTrips {
  if (text === 'none' || text === 'aws') return text;
  const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(ms) || ms > roundTripMsMaximum) {
    throw new Error(`--rtt takes none, aws, or a number of ms up to ${roundTripMsMaximum}.`);
  }
  return ms;
}

/** The round trip that the gateway of `place` adds, in ms. */
export function roundTripMsOf(place: Coordinates, roundTrips: RoundTrips): number {
  if (roundTrips === 'none') return 0;
  return roundTrips === 'aws' ? place.awsRttMs : roundTrips;
}
