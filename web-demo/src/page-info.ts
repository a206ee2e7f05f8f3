import type { PageInfo } from './state/model';

/** What the page assumes until the gateway told it better, and when it does not. */
export function defaultPageInfo(hostname: string): PageInfo {
  return { name: 'Causeway', version: '', domain: hostname, websocketPath: '/ws', caCertificate: '/ca.crt', iceServers: [], tokenClaim: null };
}

/** Reads the gateway's answer to `GET /api/page`, field by field: a missing or odd one keeps its default. */
export function readPageInfo(answer: unknown, defaults: PageInfo): PageInfo {
  const given = typeof answer === 'object' && answer !== null ? (answer as Record<string, unknown>) : {};
  const text = (key: string, otherwise: string) => (typeof given[key] === 'string' && given[key] !== '' ? (given[key] as string) : otherwise);
  const path = text('websocketPath', defaults.websocketPath);
  return {
    name: text('name', defaults.name),
    version: text('version', defaults.version),
    domain: text('domain', defaults.domain),
    websocketPath: path.startsWith('/') ? path : `/${path}`,
    caCertificate: given.caCertificate === null ? null : text('caCertificate', defaults.caCertificate ?? '') || null,
    iceServers: Array.isArray(given.iceServers) ? (given.iceServers as RTCIceServer[]) : defaults.iceServers,
    tokenClaim: text('tokenClaim', '') || null,
  };
}

/** Asks the gateway about itself. Never fails: the defaults serve a gateway that does not answer. */
export async function fetchPageInfo(defaults: PageInfo): Promise<PageInfo> {
  try {
    const response = await fetch('/api/page', { cache: 'no-store', signal: AbortSignal.timeout(4000) });
    return response.ok ? readPageInfo(await response.json(), defaults) : defaults;
  } catch {
    return defaults;
  }
}

/** Whether a plain HTTPS request reaches the gateway: tells a refused WebSocket from a gateway that is gone. */
export async function isGatewayReachable(): Promise<boolean> {
  try {
    return (await fetch('/api/page', { cache: 'no-store', signal: AbortSignal.timeout(3000) })).ok;
  } catch {
    return false;
  }
}
