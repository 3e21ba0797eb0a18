// Spans of real processes, received over OTLP by a real server; and a process that is not asked for any.

import { execFile } from 'node:child_process';
import http from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const FIXTURE = fileURLToPath(new URL('./traces.fixture.testing.ts', import.meta.url));
const TSX = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;

interface Known {
  outside: string | null;
  inside: string | null;
  below: Known | null;
  said: string[];
  closing: number;
  /** Whether OpenTelemetry's SDK was loaded. */
  sdk: boolean;
}
interface OtlpSpan {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  status: { code?: number; message?: string };
  attributes: { key: string; value: { stringValue?: string } }[];
}

/** The collector: spans by the name of their service. */
const spans: (OtlpSpan & { service: string })[] = [];
const paths = new Set<string>();
let status = 200;
let server: http.Server;
let endpoint: string;

beforeEach(async () => {
  spans.length = 0;
  status = 200;
  server = http.createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    paths.add(`${request.method} ${request.url} ${request.headers['content-type']}`);
    for (const { resource, scopeSpans } of JSON.parse(String(Buffer.concat(chunks))).resourceSpans) {
      const [{ value }] = resource.attributes.filter((each: { key: string }) => each.key === 'service.name');
      for (const scope of scopeSpans)
        spans.push(...scope.spans.map((span: OtlpSpan) => ({ ...span, service: value.stringValue })));
    }
    response.writeHead(status, { 'content-type': 'application/json' }).end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(() => new Promise((resolve) => server.close(resolve)));

async function start(args: string[], env: Record<string, string>): Promise<Known> {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: _unset, ...own } = process.env;
  const options = { env: { ...own, ...env }, timeout: 60_000 };
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', TSX, FIXTURE, ...args], options);
  return JSON.parse(stdout);
}

const spanOf = (name: string) => spans.filter((span) => span.name === name);

describe('traces', () => {
  it('run through processes as one', async () => {
    const coordinator = await start(['coordinator', '', 'engine'], { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint });
    const [[above], [below]] = [spanOf('coordinator'), spanOf('engine')];
    expect([above.service, below.service]).toEqual(['fovea-coordinator', 'fovea-engine']);
    expect(above.parentSpanId ?? '').toBe('');
    expect(below.traceId).toBe(above.traceId);
    expect(below.parentSpanId).toBe(above.spanId);
    expect([coordinator.outside, coordinator.sdk]).toEqual([null, true]);
    expect(coordinator.inside).toBe(`00-${above.traceId}-${above.spanId}-01`);
    expect(coordinator.below?.inside).toBe(`00-${below.traceId}-${below.spanId}-01`);
    expect(below.attributes).toContainEqual({ key: 'fovea.run', value: { stringValue: 'run-1' } });
    expect([...paths]).toEqual(['POST /v1/traces application/json']);
  });

  it('note what is thrown by its kind only, and throw it on', async () => {
    const { said } = await start(['job'], { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_SERVICE_NAME: 'mine' });
    expect(said).toEqual(['thrown TypeError']);
    const [failing] = spanOf('failing');
    expect(failing.status).toEqual({ code: 2, message: 'TypeError' });
    expect(JSON.stringify(spans)).not.toContain('secret');
    expect(failing.traceId).not.toBe(spanOf('job')[0].traceId);
    expect(failing.service).toBe('mine');
  });

  it('begin anew under a traceparent that is none', async () => {
    for (const bad of [`00-${'0'.repeat(32)}-${'1'.repeat(16)}-01`, 'x'.repeat(100_000)]) {
      spans.length = 0;
      await start(['job', bad], { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint });
      expect(spanOf('job')[0].parentSpanId ?? '').toBe('');
    }
  });

  it('are not there where nobody asked', async () => {
    for (const env of [{}, { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_SDK_DISABLED: 'true' }]) {
      const { outside, inside, said, sdk } = await start(['job'], env as Record<string, string>);
      expect([outside, inside, said, sdk]).toEqual([null, null, ['thrown TypeError'], false]);
    }
    expect(spans).toEqual([]);
  });

  it('stop nothing where the receiver refuses or is away, and say it once', async () => {
    status = 400;
    for (const where of [endpoint, 'http://someone:hunter2@127.0.0.1:9', 'hunter2 is no address']) {
      const { said, closing, inside } = await start(['job'], { OTEL_EXPORTER_OTLP_ENDPOINT: where });
      if (!where.includes('no address')) expect(inside).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
      expect(said.filter((line) => line.startsWith('Traces cannot be sent'))).toHaveLength(1);
      expect(said.join()).not.toContain('hunter2');
      expect(closing).toBeLessThan(4000);
    }
  });
});
