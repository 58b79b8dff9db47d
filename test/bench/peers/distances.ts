/** The round trips between regions that talk to each other. */
import type { RoundTrips } from '../../../local/gateway/round-trips.ts';

/** In ms, as measured between AWS regions in June 2020; each pair once. */
const awsRttMs: Readonly<Record<string, number>> = {
  'us-east-1 eu-west-1': 70.5,
  'us-east-1 ap-northeast-1': 152.4,
  'us-east-1 sa-east-1': 113.0,
  'us-east-1 ap-southeast-2': 198.0,
  'eu-west-1 ap-northeast-1': 204.4,
  'eu-west-1 sa-east-1': 183.6,
  'eu-west-1 ap-southeast-2': 253.7,
  'ap-northeast-1 sa-east-1': 267.9,
  'ap-northeast-1 ap-southeast-2': 104.1,
  'sa-east-1 ap-southeast-2': 308.8,
};

/** The round trip between two regions, in ms. */
export function roundTripMsBetween(one: string, other: string, roundTrips: RoundTrips): number {
  if (roundTrips === 'none' || one === other) return 0;
  if (roundTrips !== 'aws') return roundTrips;
  const ms = awsRttMs[`${one} ${other}`] ?? awsRttMs[`${other} ${one}`];
  if (ms === undefined) throw new Error(`the distance from ${one} to ${other} is not known`);
  return ms;
}
