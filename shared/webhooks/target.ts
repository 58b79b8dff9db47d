/**
 * The rules for webhook targets. Clients choose the URLs that the Worker calls: without rules, any client could reach
 * services that only the Worker's network can reach.
 *
 * A host name is judged by its spelling alone. A Worker can neither resolve a name nor pin a request to a checked
 * address, so a public name that resolves to a private address passes. The platform does not route requests of Workers
 * into private networks; a deployment inside such a network needs an outgoing proxy.
 */
import ipaddr from 'ipaddr.js';
import { limits } from '../limits.ts';

/** Every delivery has this header, and Lockstep refuses requests that have it. */
export const webhookHeader = 'Lockstep-Webhook';

/** The operator's changes to the rules. */
export interface TargetPolicy {
  /** Development only: http and https to this machine, on any port. */
  readonly allowLoopback: boolean;
  /**
   * The hosts of Lockstep itself, with or without a port. They are never called, since each call could cause another.
   */
  readonly ownHosts: readonly string[];
  /**
   * The only hosts that are called: names, or `*.` and a name for all of its subdomains. If empty, every public host.
   */
  readonly allowedHosts: readonly string[];
}

/** The canonical URL of an allowed target, or the reason to refuse it, with a remedy. */
export type TargetResult =
  | { readonly ok: true; readonly url: string }
  | { readonly ok: false; readonly reason: string };

const metadataNames: ReadonlySet<string> = new Set([
  'metadata.google.internal',
  'metadata.goog',
  'instance-data.ec2.internal',
]);

/** Public addresses at which platforms answer with the metadata of their machines. */
const metadataAddresses: ReadonlySet<string> = new Set(['168.63.129.16']);

/** Top-level labels of names that no public server has. */
const privateZones: ReadonlySet<string> = new Set([
  ...['localhost', 'localdomain', 'local', 'internal', 'intranet', 'private'],
  ...['corp', 'home', 'lan', 'arpa', 'onion', 'invalid'],
]);

/** Lower ports belong to system services, some of which may act on the text of an HTTP request. */
const unprivilegedPort = 1_024;
const hostLengthMaximum = 253;

/**
 * The policy by LOCKSTEP_ALLOW_LOOPBACK_WEBHOOKS, LOCKSTEP_OWN_HOSTS and LOCKSTEP_WEBHOOK_HOSTS.
 *
 * @throws Error if a list of hosts is malformed; the configuration is checked before.
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

/** The format of a list of hosts, for operators. */
export const hostsRule =
  'use host names separated by commas, such as a.example.com,*.b.example.com';

/** The hosts of a comma-separated list, or null if it is malformed. */
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
/** Checks the URL of an endpoint, when it is set and again before each attempt. Never throws. */
export function checkTarget(text: string, policy: TargetPolicy): TargetResult {
  if (new TextEncoder().encode(text).length > limits.urlBytes) {
    return refuse(`The URL is too long. Use at most ${limits.urlBytes} bytes.`);
  }
  // The URL parser drops these characters silently, so that another URL would be called than the one that is shown.
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

/**
 * The host of Lockstep in a request's URL. The port counts only on this machine, whose other ports are other servers.
 */
export function ownHostOf(url: URL): string {
  return isLoopback(url.hostname) ? `${url.hostname}:${portOf(url)}` : url.hostname;
}

function portOf({ port, protocol }: URL): string {
  return port !== '' ? port : protocol === 'https:' ? '443' : '80';
}

/** True if `own`, with or without a port, is the host of a URL. All names of this machine count as one. */
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

/** The URL parser has already normalized decimal, octal, hexadecimal, short and full-width addresses. */
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
  // Other IPv6 addresses are not public, or carry an IPv4 address that would be reached.
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
