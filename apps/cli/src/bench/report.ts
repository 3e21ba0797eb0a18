// The bench's results as text for a person.

import { table } from '../summary.ts';
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
