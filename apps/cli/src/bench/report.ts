// The bench's results as text for a person.

import { table } from '../summary.ts';
import type { BuildResult } from './build.ts';
import type { CaseResult } from './measure.ts';

/** One case: who was measured, who was not and why, and where our time goes. */
export function caseText({ name, batch, oursMs, oursPeakMB, peers, absent, opTypes, build }: CaseResult): string {
  const rows = [['fovea', oursMs.toFixed(1), '1', '', oursPeakMB.toFixed(0)]];
  for (const [key, { ms, ratio, ratioLow, ratioHigh, peakMB }] of Object.entries(peers)) {
    rows.push([
      key,
      ms.toFixed(1),
      ratio.toFixed(2),
      `${ratioLow.toFixed(2)} – ${ratioHigh.toFixed(2)}`,
      peakMB.toFixed(0),
    ]);
  }
  const total = opTypes.reduce((sum, { ms }) => sum + ms, 0);
  const ops = opTypes
    .slice(0, 10)
    .map(({ op, ms, nodes }) => `${op} ${ms.toFixed(1)} (${((100 * ms) / total).toFixed(0)} %, ${nodes.toFixed(0)})`);
  return [
    `${name}, batch ${batch}, ${build.nodes} nodes, traced in ${build.traceMs.toFixed(0)} ms, session in ${build.sessionMs.toFixed(0)} ms`,
    table(['', 'median ms', 'its time / ours', '10 – 90 %', 'peak MiB'], rows),
    ...Object.entries(absent).map(([key, reason]) => `absent: ${key}: ${reason}`),
    `our milliseconds by operation (share, nodes): ${ops.join(', ')}`,
  ].join('\n');
}

/** What the full size took. */
export function buildText(result: BuildResult, threads: number): string {
  const { traceSeconds, sessionSeconds, stepSeconds, peakGB, nodes, loss } = result;
  const millions = (parameters: number) => `${(parameters / 1e6).toFixed(1)} M`;
  return [
    `ViT-L/14-336 (${millions(result.trainedParameters)} trained, with its projector) through the U-Net of Stable Diffusion 2.1 (${millions(result.frozenParameters)} frozen), batch 1, 64×64 latents, ${threads} threads`,
    `trace ${traceSeconds.toFixed(1)} s + session ${sessionSeconds.toFixed(1)} s = ${(traceSeconds + sessionSeconds).toFixed(1)} s, ${nodes} nodes`,
    `step ${stepSeconds.toFixed(1)} s, loss ${loss.toFixed(4)}, peak ${peakGB.toFixed(1)} GB resident`,
  ].join('\n');
}
