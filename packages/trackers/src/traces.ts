// Traces over the processes of a fleet: coordinator → job → engine. Code calls withSpan whether anybody listens or not;
// only where OTEL_EXPORTER_OTLP_ENDPOINT is set is OpenTelemetry's SDK loaded and anything sent. From process to process
// a trace travels as one W3C traceparent, a string in the job's data.

import { type Attributes, context, propagation, type Span, SpanStatusCode, trace } from '@opentelemetry/api';

const TRACER = 'fovea';
/** For sending with all its retries, which also keep an ending process alive. */
const TIMEOUT_MS = 3000;

export interface Tracing {
  /** Sends what waits, for at most `ms` (3000). Never throws. */
  close(ms?: number): Promise<void>;
}

/**
 * Switches tracing on for this process, once, if the environment names where spans go: OTEL_EXPORTER_OTLP_ENDPOINT, with
 * OTEL_EXPORTER_OTLP_HEADERS and the exporter's other variables; OTEL_SERVICE_NAME wins over the name given here, and
 * OTEL_SDK_DISABLED=true over everything. A receiver that is away is said once and stops nothing.
 */
export async function startTracing(
  { serviceName, say }: { serviceName: string; say?: (message: string) => void },
  env: NodeJS.ProcessEnv = process.env,
): Promise<Tracing> {
  const off = env.OTEL_SDK_DISABLED?.toLowerCase() === 'true';
  if (!env.OTEL_EXPORTER_OTLP_ENDPOINT || off) return { close: async () => undefined };
  const [{ AsyncLocalStorageContextManager }, core, { OTLPTraceExporter }, resources, sdk] = await Promise.all([
    import('@opentelemetry/context-async-hooks'),
    import('@opentelemetry/core'),
    import('@opentelemetry/exporter-trace-otlp-http'),
    import('@opentelemetry/resources'),
    import('@opentelemetry/sdk-trace'),
  ]);
  let said = false;
  const complain = () => {
    // Not the error itself: it may hold the address, and so a key.
    if (!said) say?.('Traces cannot be sent to OTEL_EXPORTER_OTLP_ENDPOINT; the run goes on without them.');
    said = true;
  };
  core.setGlobalErrorHandler(complain);
  const resource = resources
    .defaultResource()
    .merge(resources.resourceFromAttributes({ 'service.name': env.OTEL_SERVICE_NAME || serviceName }));
  const told = env.OTEL_EXPORTER_OTLP_TIMEOUT || env.OTEL_EXPORTER_OTLP_TRACES_TIMEOUT;
  const exporter = new OTLPTraceExporter(told ? {} : { timeoutMillis: TIMEOUT_MS });
  const provider = new sdk.TracerProvider({ resource, spanProcessors: [new sdk.BatchSpanProcessor({ exporter })] });
  trace.setGlobalTracerProvider(provider);
  propagation.setGlobalPropagator(new core.W3CTraceContextPropagator());
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  return { close: (ms = TIMEOUT_MS) => within(ms, provider.shutdown()).catch(complain) };
}

/** The span that is open here as a traceparent, for a job's `trace`; undefined where nothing is traced. */
export function inject(): string | undefined {
  const carrier: { traceparent?: string } = {};
  propagation.inject(context.active(), carrier);
  return carrier.traceparent;
}

/**
 * Runs `fn` in a span, under the span that `traceparent` names, or the one that is open here. A traceparent that is none
 * begins a new trace. What `fn` throws is noted and thrown on.
 */
export async function withSpan<T>(
  name: string,
  traceparent: string | undefined,
  attributes: Attributes,
  fn: (span: Span) => T | Promise<T>,
): Promise<T> {
  const parent = traceparent ? propagation.extract(context.active(), { traceparent }) : context.active();
  return trace.getTracer(TRACER).startActiveSpan(name, { attributes }, parent, async (span) => {
    try {
      return await fn(span);
    } catch (error) {
      // The kind only: messages may hold a user's paths.
      const message = error instanceof Error ? error.name : typeof error;
      span.setAttribute('error.type', message);
      span.setStatus({ code: SpanStatusCode.ERROR, message });
      throw error;
    } finally {
      span.end();
    }
  });
}

async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise((_resolve, reject) => (timer = setTimeout(reject, ms, new Error('no time is left'))));
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
