// What this process holds in memory, in MiB, and its peak since the last reset; from Linux's /proc, as protocol.py does.
// Elsewhere the peak is that of the process's whole life.

import { readFileSync, writeFileSync } from 'node:fs';

function status(field: string): number | null {
  try {
    const found = readFileSync('/proc/self/status', 'utf8').match(new RegExp(`^${field}:\\s+(\\d+)`, 'm'));
    return found ? Number(found[1]) / 1024 : null;
  } catch {
    return null;
  }
}

export const residentMB = (): number => status('VmRSS') ?? process.memoryUsage.rss() / 2 ** 20;

export const peakMB = (): number => status('VmHWM') ?? process.resourceUsage().maxRSS / 1024;

export function resetPeak(): void {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {}
}
