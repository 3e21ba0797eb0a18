// Binds the API to an address: this machine alone unless told otherwise, and never elsewhere without tokens.

import { isIP } from 'node:net';
import { FoveaError } from '@fovea/artifacts';
import type { FastifyInstance } from 'fastify';
import { type ApiOptions, createApi } from './server.ts';

export interface ServeOptions extends ApiOptions {
  /** @defaultValue '127.0.0.1' */
  host?: string;
  /** 0 for any that is free. @defaultValue 7070 */
  port?: number;
}

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));

/** Starts the server. The FoveaError says why it cannot listen there. */
export async function serveApi({ host = '127.0.0.1', port = 7070, ...options }: ServeOptions): Promise<{
  app: FastifyInstance;
  /** `http://127.0.0.1:7070` */
  url: string;
  close(): Promise<void>;
}> {
  const { tokens, anonymous = [] } = options.auth;
  if (!isLoopback(host) && (tokens.length === 0 || anonymous.length > 0)) {
    const why = tokens.length === 0 ? 'there are no tokens' : 'callers without a token are let in';
    throw new FoveaError(
      `The API does not listen on ${host} while ${why}: give FOVEA_API_TOKENS_FILE the lines that \`fovea token\` prints, or listen on 127.0.0.1.`,
    );
  }
  const app = await createApi(options);
  try {
    const url = await app.listen({ host, port });
    return { app, url, close: () => app.close() };
  } catch (error) {
    await app.close();
    const { code } = error as NodeJS.ErrnoException;
    if (!['EADDRINUSE', 'EACCES', 'EADDRNOTAVAIL', 'ENOTFOUND'].includes(code ?? '')) throw error;
    throw new FoveaError(`The API cannot listen on ${host} port ${port} (${code}): give another --host or --port.`);
  }
}
