// A TCP proxy that is a bad network: each direction has a delay with jitter, a bandwidth, and a way of being broken.
// Bytes keep their order. It listens on an address of this machine and passes on to a port or a socket file.

import {
  type AddressInfo,
  createServer,
  connect as dial,
  type NetConnectOpts,
  type Server,
  type Socket,
} from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** One direction: `up` from the client to the server, `down` back. */
export interface Weather {
  latencyMs: number;
  /** The delay is even between latency − jitter and latency + jitter. */
  jitterMs: number;
  bytesPerSecond: number;
  /**
   * `hold` keeps bytes until the way is open again, as TCP does over a cable that was pulled; `swallow` drops them, and a
   * connection that lost some gets nothing through ever after, as behind a router that forgot it.
   */
  way: 'open' | 'hold' | 'swallow';
}

const FAIR: Weather = { latencyMs: 0, jitterMs: 0, bytesPerSecond: Number.POSITIVE_INFINITY, way: 'open' };
/** How often what is held looks whether the way is open. */
const LOOK_MS = 20;
const MAX_QUEUED = 1 << 20;

export class Wire {
  readonly up = { ...FAIR };
  readonly down = { ...FAIR };
  /** New connections are refused (by a reset: the port stays). */
  refuses = false;
  readonly #target: NetConnectOpts;
  readonly #random: () => number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(target: NetConnectOpts, random: () => number) {
    this.#target = target;
    this.#random = random;
    this.#server = createServer({ allowHalfOpen: true }, (client) => this.#accept(client));
  }

  /** `random` gives numbers in [0, 1). */
  static async start(target: NetConnectOpts, random: () => number, host = '127.0.0.1'): Promise<Wire> {
    const proxy = new Wire(target, random);
    await new Promise<void>((resolve) => proxy.#server.listen(0, host, resolve));
    return proxy;
  }

  /** `127.0.0.1:4711` */
  get address(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return `${address}:${port}`;
  }

  /** Both directions at once. */
  set(weather: Partial<Weather>): void {
    Object.assign(this.up, weather);
    Object.assign(this.down, weather);
  }

  /** Breaks every connection off by a reset. */
  reset(): void {
    // A socket file's connections know no reset.
    for (const socket of this.#sockets) socket.remoteAddress ? socket.resetAndDestroy() : socket.destroy();
  }

  async stop(): Promise<void> {
    this.reset();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(client: Socket): void {
    if (this.refuses) return void client.on('error', () => undefined).resetAndDestroy();
    const server = dial({ ...this.#target, allowHalfOpen: true } as NetConnectOpts);
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ]) {
      this.#sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => this.#sockets.delete(socket));
    }
    this.#pump(client, server, this.up);
    this.#pump(server, client, this.down);
  }

  #pump(from: Socket, to: Socket, weather: Weather): void {
    let [queued, due, isLost] = [0, 0, false];
    let last: Promise<void> = Promise.resolve();
    const pass = (bytes: number, act: () => void) => {
      if (weather.way === 'swallow') isLost = true;
      if (isLost) return;
      const delay = weather.latencyMs + weather.jitterMs * (2 * this.#random() - 1);
      due = Math.max(due, performance.now() + delay) + (1000 * bytes) / weather.bytesPerSecond;
      queued += bytes;
      if (queued > MAX_QUEUED) from.pause();
      const at = due;
      last = last.then(async () => {
        if (at > performance.now()) await sleep(at - performance.now());
        while (weather.way === 'hold' && !to.destroyed) await sleep(LOOK_MS);
        queued -= bytes;
        from.resume();
        if (!to.destroyed) act();
      });
    };
    from.on('data', (chunk) => pass(chunk.length, () => void to.write(chunk)));
    from.on('end', () => pass(0, () => void to.end()));
    from.on('close', () => pass(0, () => void to.end()));
  }
}
