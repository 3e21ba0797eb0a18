// The network of one machine: each host reaches Redis and the store through proxies of its own.

import { type AddressInfo, createServer } from 'node:net';
import { philox } from '@fovea/tensor/random';
import { Wire } from '../../packages/jobs/test-fixtures/proxy.ts';
import type { Network } from './hosts.ts';
import { type Address, Servers } from './servers.ts';

export interface Links {
  redis: Wire;
  s3: Wire;
}

export class Proxied implements Network {
  readonly servers: Servers;
  readonly #links = new Map<string, Links>();

  private constructor(servers: Servers) {
    this.servers = servers;
  }

  static async open(programs: { redis: string; s3: string }, dir: string, hosts: string[]): Promise<Proxied> {
    const network = new Proxied(new Servers(programs, dir, [await freeAddress(), await freeAddress()]));
    await network.servers.start();
    for (const [i, host] of hosts.entries()) {
      const random = philox(7, 'weather', 0, i);
      const start = (at: Address) => Wire.start({ ...at }, () => random.uniform());
      const { redisAt, s3At } = network.servers;
      network.#links.set(host, { redis: await start(redisAt), s3: await start(s3At) });
    }
    return network;
  }

  get credentials(): NodeJS.ProcessEnv {
    return this.servers.credentials;
  }

  get own() {
    const { redisAt, s3At } = this.servers;
    return { redisUrl: `redis://${redisAt.host}:${redisAt.port}`, s3Endpoint: `http://${s3At.host}:${s3At.port}` };
  }

  on(): string[] {
    return [];
  }

  redisUrl(host: string): string {
    return `redis://${this.link(host).redis.address}`;
  }

  s3Endpoint(host: string): string {
    return `http://${this.link(host).s3.address}`;
  }

  link(host: string): Links {
    return this.#links.get(host)!;
  }

  /** The proxies of some hosts, or of all. */
  links(...hosts: string[]): Wire[] {
    const chosen = hosts.length > 0 ? hosts.map((host) => this.link(host)) : [...this.#links.values()];
    return chosen.flatMap(({ redis, s3 }) => [redis, s3]);
  }

  async close(): Promise<void> {
    await Promise.all(this.links().map((link) => link.stop()));
    await this.servers.kill();
  }
}

async function freeAddress(): Promise<Address> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return { host: '127.0.0.1', port };
}
