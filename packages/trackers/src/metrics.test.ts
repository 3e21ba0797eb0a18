// The page that Prometheus reads, after the calls that feed it.

import { describe, expect, it } from 'vitest';
import { FleetMetrics, type PoolCounts } from './metrics.ts';

const pool = (queue: string, memory: number, counts: Partial<PoolCounts> = {}): PoolCounts => ({
  queue,
  role: 'train',
  device: 'cuda',
  memory,
  waiting: 0,
  active: 0,
  delayed: 0,
  failed: 0,
  ...counts,
});
const worker = (memory: number, device = 'cuda', role = 'train') => ({ role, device, memory });

/** Samples of the page: name with labels → value. */
async function samples(metrics: FleetMetrics): Promise<Record<string, number>> {
  const lines = (await metrics.page()).split('\n').filter((line) => line && !line.startsWith('#'));
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}
const named = async (metrics: FleetMetrics, name: string) =>
  Object.fromEntries(
    Object.entries(await samples(metrics))
      .filter(([key]) => key.startsWith(name))
      .map(([key, value]) => [key.slice(name.length), value]),
  );

describe('the metrics of a fleet', () => {
  it('count jobs by state and give the backlog that is scaled on', async () => {
    const metrics = new FleetMetrics();
    metrics.observePools([
      pool('train-a', 24, { waiting: 3, prioritized: 4, active: 2, delayed: 1, failed: 9 }),
      pool('train-b', 24, { waiting: 1 }),
      pool('train-c', 80),
    ]);
    expect(await named(metrics, 'fovea_pool_backlog')).toEqual({
      '{role="train",device="cuda",memory="24"}': 11,
      '{role="train",device="cuda",memory="80"}': 0,
    });
    const jobs = await named(metrics, 'fovea_jobs');
    expect(jobs['{queue="train-a",role="train",device="cuda",memory="24",state="prioritized"}']).toBe(4);
    expect(jobs['{queue="train-a",role="train",device="cuda",memory="24",state="failed"}']).toBe(9);
    expect(Object.keys(jobs)).toHaveLength(15);
    metrics.observePools([pool('train-c', 80, { active: 1 })]);
    expect(Object.keys(await named(metrics, 'fovea_jobs'))).toHaveLength(5);
    expect(await named(metrics, 'fovea_pool_backlog')).toEqual({ '{role="train",device="cuda",memory="80"}': 1 });
  });

  it('count workers by class, and show a class that lost its last', async () => {
    const metrics = new FleetMetrics({ processMetrics: false });
    metrics.observePools([pool('train-a', 80)]);
    metrics.observeWorkers([worker(24), worker(24), worker(0, 'cpu', 'eval')]);
    expect(await named(metrics, 'fovea_workers')).toEqual({
      '{role="train",device="cuda",memory="80"}': 0,
      '{role="train",device="cuda",memory="24"}': 2,
      '{role="eval",device="cpu",memory="0"}': 1,
    });
    metrics.observeWorkers([worker(24)]);
    expect((await named(metrics, 'fovea_workers'))['{role="eval",device="cpu",memory="0"}']).toBe(0);
  });

  it('show the speed of running runs only', async () => {
    const metrics = new FleetMetrics({ processMetrics: false });
    for (let i = 0; i < 200; i++) {
      for (const track of ['aligned', 'control']) metrics.observeSpeed({ run: `run-${i}`, track, imagesPerSecond: i });
      await metrics.observeRuns([`run-${i}`]);
    }
    expect(await named(metrics, 'fovea_images_per_second')).toEqual({
      '{run="run-199",track="aligned"}': 199,
      '{run="run-199",track="control"}': 199,
    });
    await metrics.observeRuns([]);
    expect(await named(metrics, 'fovea_images_per_second')).toEqual({});
  });

  it('count retries and stalls and time steps and reconciling', async () => {
    const metrics = new FleetMetrics({ processMetrics: false });
    metrics.observeRetry('shard');
    metrics.observeRetry('shard');
    metrics.observeStall('train-a');
    metrics.observeRound({ stage: 'align', steps: 100, seconds: 40 });
    metrics.observeRound({ stage: 'init', steps: 0, seconds: 3 });
    metrics.observeReconcile(0.02);
    const page = await samples(metrics);
    expect(page['fovea_retries_total{kind="shard"}']).toBe(2);
    expect(page['fovea_stalls_total{queue="train-a"}']).toBe(1);
    expect(page['fovea_step_seconds_bucket{le="0.25",stage="align"}']).toBe(0);
    expect(page['fovea_step_seconds_bucket{le="0.5",stage="align"}']).toBe(1);
    expect(page['fovea_step_seconds_sum{stage="align"}']).toBeCloseTo(0.4);
    expect(page['fovea_step_seconds_count{stage="init"}']).toBeUndefined();
    expect(page['fovea_coordinator_reconcile_seconds_bucket{le="0.025"}']).toBe(1);
    expect(metrics.contentType).toContain('text/plain');
  });

  it('are one page per fleet, with the process’s own where wanted', async () => {
    const [first, second] = [new FleetMetrics(), new FleetMetrics({ processMetrics: false })];
    first.observeRetry('score');
    expect((await samples(first)).process_resident_memory_bytes).toBeGreaterThan(1e6);
    expect(Object.keys(await samples(second)).filter((name) => name.startsWith('process_'))).toEqual([]);
    expect(await named(second, 'fovea_retries_total')).toEqual({});
  });
});
