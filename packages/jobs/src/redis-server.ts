// Finds the redis-server or valkey-server program of this machine, and installs one by apt where that is possible.

import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { FoveaError } from '@fovea/artifacts';

const run = promisify(execFile);
const NAMES = ['redis-server', 'valkey-server'];
/** Looked into after the PATH: where package managers put it and a bare environment forgets to look. */
const EXTRA_FOLDERS = ['/usr/local/bin', '/usr/bin', '/opt/homebrew/bin'];
/** Debian asks this file whether a freshly installed daemon may start; 101 is "no". */
const POLICY_FILE = '/usr/sbin/policy-rc.d';

/** Path of the first server program found, or null. */
export async function findRedisServer(searchPath = process.env.PATH ?? ''): Promise<string | null> {
  const folders = [...searchPath.split(path.delimiter), ...EXTRA_FOLDERS].filter((folder) => path.isAbsolute(folder));
  for (const name of NAMES) {
    for (const folder of folders) {
      const file = path.join(folder, name);
      if (
        await access(file, constants.X_OK).then(
          () => true,
          () => false,
        )
      )
        return file;
    }
  }
  return null;
}

/** Version that a server program reports, such as 7.0.15. */
export async function redisServerVersion(file: string): Promise<string> {
  const { stdout } = await run(file, ['--version']);
  return /v=([\d.]+)/.exec(stdout)?.[1] ?? stdout.trim();
}

/** Installs redis-server by apt as root and returns its path; a FoveaError that says what to install otherwise. */
export async function installRedisServer(say: (text: string) => void = () => undefined): Promise<string> {
  const apt =
    process.getuid?.() === 0 &&
    (await access('/usr/bin/apt-get', constants.X_OK).then(
      () => true,
      () => false,
    ));
  let why = 'apt-get as root is not available to install one';
  if (apt) {
    say('There is no Redis here; installing redis-server by apt-get');
    try {
      await aptInstall();
    } catch (error) {
      const { stderr, message } = error as Error & { stderr?: string };
      const lines = (stderr || message).trim().split('\n');
      why = `apt-get could not install one: ${(lines.find((line) => line.startsWith('E:')) ?? lines[0]).slice(0, 200)}`;
    }
    const found = await findRedisServer();
    if (found) return found;
  }
  throw new FoveaError(
    `Fovea needs Redis 6.2 or newer (or Valkey) and finds neither REDIS_URL nor redis-server or valkey-server on the PATH, and ${why}: install redis (apt install redis-server, brew install redis, dnf install valkey) or set REDIS_URL.`,
  );
}

async function aptInstall(): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const options = { env, timeout: 300_000, maxBuffer: 1 << 24 };
  // Ours is a private child; the package's own daemon must not start. A policy of the machine's owner stays as it is.
  const ours = await writeFile(POLICY_FILE, '#!/bin/sh\nexit 101\n', { mode: 0o755, flag: 'wx' }).then(
    () => true,
    () => false,
  );
  try {
    await run('apt-get', ['update'], options);
    await run('apt-get', ['install', '-y', '--no-install-recommends', 'redis-server'], options);
  } finally {
    if (ours) await rm(POLICY_FILE, { force: true });
  }
}
