import type { Socket } from 'jssip';

/**
 * The WebSocket to the gateway in the shape JsSIP wants (RFC 7118, sub-protocol `sip`).
 *
 * Instead of JsSIP's own it is used because a browser notices a dead TCP connection only after minutes: this one
 * knows when the gateway was heard last, and can be dropped so that JsSIP reconnects at once.
 */
export class GatewaySocket implements Socket {
  via_transport = 'WSS';
  readonly url: string;
  readonly sip_uri: string;
  /** When the last frame came, in ms of `performance.now()`. */
  lastHeard = 0;

  onconnect: () => void = nothing;
  ondisconnect: (error: boolean, code?: number, reason?: string) => void = nothing;
  ondata: <T>(data: T) => void = nothing;

  #socket: WebSocket | null = null;

  constructor(url: string) {
    const { host, protocol } = new URL(url);
    this.url = url;
    this.sip_uri = `sip:${host};transport=ws`;
    this.via_transport = protocol === 'ws:' ? 'WS' : 'WSS';
  }

  connect(): void {
    if (this.isConnected() || this.isConnecting()) return;
    this.disconnect();
    const socket = new WebSocket(this.url, 'sip');
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      this.lastHeard = performance.now();
      this.onconnect();
    };
    socket.onmessage = ({ data }) => {
      this.lastHeard = performance.now();
      this.ondata(data);
    };
    socket.onclose = ({ wasClean, code, reason }) => {
      this.#socket = null;
      this.ondisconnect(!wasClean, code, reason);
    };
    this.#socket = socket;
  }

  disconnect(): void {
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = null;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  /** Gives the connection up as dead: closes it and reports it lost without waiting for the far end. */
  drop(): void {
    if (!this.#socket) return;
    this.disconnect();
    this.ondisconnect(true, 1006, 'no sign of life');
  }

  send(message: string | ArrayBufferLike | Blob | ArrayBufferView): boolean {
    if (!this.isConnected()) return false;
    this.#socket!.send(message as string);
    return true;
  }

  isConnected(): boolean {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  isConnecting(): boolean {
    return this.#socket?.readyState === WebSocket.CONNECTING;
  }
}

function nothing(): void {}
