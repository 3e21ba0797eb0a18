// Hosts as network namespaces of this machine: a and b for workers and s for the servers, joined by virtual cables to a
// bridge in s, where the coordinator and the harness sit too. A cable can be pulled. Needs root and iproute2.

import { execFileSync } from 'node:child_process';
import type { Network } from './hosts.ts';
import { Servers } from './servers.ts';

const NET = '10.77.5';
const ADDRESSES: Record<string, string> = { s: `${NET}.1`, a: `${NET}.11`, b: `${NET}.12`, root: `${NET}.254` };

export class Namespaces implements Network {
  readonly servers: Servers;
  readonly #id: string;

  private constructor(id: string, servers: Servers) {
    this.#id = id;
    this.servers = servers;
  }

  /** Makes them and starts the servers; or says why that cannot be. */
  static async open(programs: { redis: string; s3: string }, dir: string): Promise<Namespaces | { reason: string }> {
    const id = `fv${process.pid % 100_000}`;
    const on = ['ip', 'netns', 'exec', `${id}-s`];
    const at = (port: number) => ({ host: ADDRESSES.s, port });
    const network = new Namespaces(id, new Servers(programs, dir, [at(6379), at(7480)], on));
    try {
      network.#make();
    } catch (error) {
      network.#remove();
      const { code, stderr } = error as { code?: string; stderr?: Buffer };
      const why = code === 'ENOENT' ? 'there is no ip program (iproute2)' : String(stderr ?? error).trim();
      return { reason: `network namespaces cannot be made here: ${why}` };
    }
    await network.servers.start();
    return network;
  }

  get credentials(): NodeJS.ProcessEnv {
    return this.servers.credentials;
  }

  get own() {
    return { redisUrl: this.redisUrl(), s3Endpoint: this.s3Endpoint() };
  }

  /** Workers have a namespace each; the coordinator and the eval worker stay where the harness is. */
  on(host: string): string[] {
    return host === 'a' || host === 'b' ? ['ip', 'netns', 'exec', `${this.#id}-${host}`] : [];
  }

  redisUrl(): string {
    return `redis://${ADDRESSES.s}:6379`;
  }

  s3Endpoint(): string {
    return `http://${ADDRESSES.s}:7480`;
  }

  /** Pulls a host's cable or puts it back. */
  cable(host: string, state: 'up' | 'down'): void {
    this.#ip('-n', `${this.#id}-s`, 'link', 'set', `p-${host}`, state);
  }

  /** Delays what a host sends; false where the kernel cannot. */
  delay(host: string, ms: number, jitterMs: number): boolean {
    try {
      const at = ['-n', `${this.#id}-${host}`, 'qdisc'];
      if (ms === 0) execFileSync('tc', [...at, 'del', 'dev', 'eth0', 'root'], { stdio: 'ignore' });
      else {
        const how = ['netem', 'delay', `${ms}ms`, `${jitterMs}ms`];
        execFileSync('tc', [...at, 'add', 'dev', 'eth0', 'root', ...how], { stdio: 'ignore' });
      }
      return true;
    } catch {
      return false;
    }
  }

  async close(): Promise<void> {
    await this.servers.kill();
    this.#remove();
  }

  #make(): void {
    const space = (host: string) => `${this.#id}-${host}`;
    for (const host of ['s', 'a', 'b']) {
      this.#ip('netns', 'add', space(host));
      this.#ip('-n', space(host), 'link', 'set', 'lo', 'up');
    }
    this.#ip('-n', space('s'), 'link', 'add', 'name', 'br', 'type', 'bridge');
    this.#ip('-n', space('s'), 'addr', 'add', `${ADDRESSES.s}/24`, 'dev', 'br');
    this.#ip('-n', space('s'), 'link', 'set', 'dev', 'br', 'up');
    const cable = (port: string, device: string, netns: string) =>
      this.#ip('-n', space('s'), 'link', 'add', 'name', port, 'type', 'veth', 'peer', 'name', device, 'netns', netns);
    for (const host of ['a', 'b']) {
      cable(`p-${host}`, 'eth0', space(host));
      this.#join(`p-${host}`, ['-n', space(host)], 'eth0', ADDRESSES[host]);
    }
    cable('p-root', this.#id, String(process.pid));
    this.#join('p-root', [], this.#id, ADDRESSES.root);
  }

  #join(port: string, where: string[], device: string, address: string): void {
    this.#ip('-n', `${this.#id}-s`, 'link', 'set', 'dev', port, 'master', 'br', 'up');
    this.#ip(...where, 'addr', 'add', `${address}/24`, 'dev', device);
    this.#ip(...where, 'link', 'set', device, 'up');
  }

  #remove(): void {
    for (const host of ['a', 'b', 's']) {
      try {
        this.#ip('netns', 'del', `${this.#id}-${host}`);
      } catch {
        // It was not made.
      }
    }
  }

  #ip(...args: string[]): void {
    execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  }
}
