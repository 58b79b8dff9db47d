import ipaddr from 'ipaddr.js';
import { limits } from '../limits.ts';

/**
 * Which addresses may be sent to. A client chooses them, and the Worker would call them: without these rules, anybody
 * with a token could reach what only the Worker's own network reaches.
 *
 * A name is judged by its spelling alone. A Worker can neither resolve a name itself nor hold a request to an address
 * that it has checked, so a public name that resolves to a private address is not seen here; the platform does not
 * route requests of Workers into private networks. Whoever runs Lockstep inside a private network needs a proxy for
 * what goes out.
 */

/** Every delivery has this header, and Lockstep refuses what has it. */
export const webhookHeader = 'Lockstep-Webhook';

/** What an operator allows beyond the rules. */
export interface TargetPolicy {
  /** Development only: http and https to this machine, on any port. */
  readonly allowLoopback: boolean;
  /** Where Lockstep itself is served, with or without a port: never called, as each call could cause the next. */
  readonly ownHosts: readonly string[];
  /** The only hosts that are called: names, or `*.` and a name for all below it. Empty: any public host. */
  readonly allowedHosts: readonly string[];
}

/** A target that may be sent to, in its normal spelling, or why not and what to do. */
export type TargetResult =
  | { readonly ok: true; readonly url: string }
  | { readonly ok: false; readonly reason: string };

const metadataNames: ReadonlySet<string> = new Set([
  'metadata.google.internal',
  'metadata.goog',
  'instance-data.ec2.internal',
]);

/** Public by their numbers, but a platform answers there with what belongs to its machines. */
const metadataAddresses: ReadonlySet<string> = new Set(['168.63.129.16']);

/** The last labels of names that no public server has. */
const privateZones: ReadonlySet<string> = new Set([
  ...['localhost', 'localdomain', 'local', 'internal', 'intranet', 'private'],
  ...['corp', 'home', 'lan', 'arpa', 'onion', 'invalid'],
]);

/** Ports below it belong to the system's services, some of which act on what an HTTP request looks like to them. */
const unprivilegedPort = 1_024;
const hostLengthMaximum = 253;

/**
 * The policy of an environment: LOCKSTEP_ALLOW_LOOPBACK_WEBHOOKS, LOCKSTEP_OWN_HOSTS and LOCKSTEP_WEBHOOK_HOSTS.
 *
 * @throws Error if a list of hosts cannot be read; the configuration is checked before.
 */
export function targetPolicyOf(environment: object): TargetPolicy {
  const variables: Readonly<Record<string, unknown>> = { ...environment };
  const hosts = (name: string) => {
    const listed = hostsOf(String(variables[name] ?? ''));
    if (listed === null) throw new Error(`${name}: ${hostsRule}`);
    return listed;
  };
  return {
    allowLoopback: variables.LOCKSTEP_ALLOW_LOOPBACK_WEBHOOKS === 'true',
    ownHosts: hosts('LOCKSTEP_OWN_HOSTS'),
    allowedHosts: hosts('LOCKSTEP_WEBHOOK_HOSTS'),
  };
}

/** The form of a list of hosts, for an operator. */
export const hostsRule =
  'use host names separated by commas, such as a.example.com,*.b.example.com';

/** The hosts of a list with commas, or null if it has another form. */
export function hostsOf(text: string): readonly string[] | null {
  const hosts = text
    .split(',')
    .map((host) => host.trim().toLowerCase())
    .filter((host) => host !== '');
  const isHost = (host: string) =>
    /^(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*(?::\d{1,5})?$|^\[[0-9a-f:.]+\](?::\d{1,5})?$/.test(
      host,
    );
  return hosts.every(isHost) ? hosts : null;
}
/** Judges the URL of an endpoint. It is judged when it is set, and again before each attempt. Never throws. */
export function checkTarget(text: string, policy: TargetPolicy): TargetResult {
  if (new TextEncoder().encode(text).length > limits.urlBytes) {
    return refuse(`The URL is too long. Use at most ${limits.urlBytes} bytes.`);
  }
  // The parser drops these silently, so that what people see is not what is called.
  if (/[\s\p{Cc}\\]/u.test(text)) {
    return refuse('The URL contains a space, a control character or a backslash. Encode it.');
  }
  const url = URL.parse(text);
  if (url === null || !/^https?:\/\//i.test(text)) {
    return refuse('The URL cannot be read. Use the form https://host/path.');
  }
  return faultOf(url, text, policy) ?? { ok: true, url: url.href };
}

function faultOf(url: URL, text: string, policy: TargetPolicy): TargetResult | null {
  const authority = /^https?:\/\/([^/?#]*)/i.exec(text)?.[1] ?? '';
  if (authority.includes('@')) {
    return refuse('The URL carries credentials. Remove them; check the signature instead.');
  }
  if (text.includes('#')) return refuse('The URL has a fragment, which is never sent. Remove it.');
  const host = url.hostname.replace(/\.$/, '');
  if (policy.ownHosts.some((own) => isOwnHost(own, host, portOf(url)))) {
    return refuse('The URL points to Lockstep itself. Its events would cause further events.');
  }
  if (policy.allowLoopback && isLoopback(host)) return null;
  if (url.protocol !== 'https:') return refuse('The URL is not encrypted. Use https.');
  const port = Number(portOf(url));
  if (port !== 443 && port < unprivilegedPort) {
    return refuse(`Port ${port} is not allowed. Use 443, or one from ${unprivilegedPort} on.`);
  }
  return hostFault(host) ?? listFault(host, policy.allowedHosts);
}

/** The own host that the URL of a request names. Only this machine serves others on other ports of the same name. */
export function ownHostOf(url: URL): string {
  return isLoopback(url.hostname) ? `${url.hostname}:${portOf(url)}` : url.hostname;
}

function portOf({ port, protocol }: URL): string {
  return port !== '' ? port : protocol === 'https:' ? '443' : '80';
}

/** True if `own`, with or without a port, stands for the host of a URL. One machine has many names for itself. */
function isOwnHost(own: string, host: string, port: string): boolean {
  const [, name = own, ownPort = ''] = /^(.*?)(?::(\d+))?$/.exec(own) ?? [];
  if (isLoopback(name) && isLoopback(host)) return ownPort === '' || ownPort === port;
  return name.replace(/\.$/, '') === host && (ownPort === '' || ownPort === port);
}

function listFault(host: string, allowedHosts: readonly string[]): TargetResult | null {
  const isListed = allowedHosts.some((allowed) =>
    allowed.startsWith('*.') ? host.endsWith(allowed.slice(1)) : host === allowed,
  );
  if (allowedHosts.length === 0 || isListed) return null;
  return refuse(`The host ${host} is not one that the operator allows (LOCKSTEP_WEBHOOK_HOSTS).`);
}

/** By now the URL parser has brought decimal, octal, hexadecimal, short and full-width forms to the usual one. */
function hostFault(host: string): TargetResult | null {
  const literal = host.startsWith('[') ? host.slice(1, -1) : host;
  if (ipaddr.isValid(literal)) return addressFault(literal);
  if (host.length > hostLengthMaximum || !/^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/.test(host)) {
    return refuse('The host name is invalid. Use the public name of a server.');
  }
  const labels = host.split('.');
  if (labels.length === 1) {
    return refuse(`The host ${host} is no public name. Use the full name of a public server.`);
  }
  if (metadataNames.has(host) || privateZones.has(labels.at(-1) ?? '')) {
    return refuse(`The host ${host} is private. Use the name of a public server.`);
  }
  return null;
}

function addressFault(literal: string): TargetResult | null {
  const address = ipaddr.parse(literal);
  // Other IPv6 addresses either are not public or carry an IPv4 address, which would be reached.
  const isGlobal = address.kind() === 'ipv4' || /^[23][0-9a-f]{3}:/.test(address.toString());
  if (isGlobal && address.range() === 'unicast' && !metadataAddresses.has(literal)) return null;
  return refuse(`The address ${literal} is not public. Use the name of a public server.`);
}

function isLoopback(host: string): boolean {
  if (host === 'localhost' || host.endsWith('.localhost')) return true;
  return host === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(host);
}

function refuse(reason: string): TargetResult {
  return { ok: false, reason };
}
