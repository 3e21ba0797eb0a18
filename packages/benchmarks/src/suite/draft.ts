// A suite as a builder gives it: everything but counts and hashes, which whoever writes or opens it works out.

import type { z } from 'zod';
import type { itemSchema, probeRowSchema } from './item.ts';
import type { manifestSchema } from './manifest.ts';

export interface Draft
  extends Omit<z.input<typeof manifestSchema>, 'version' | 'splits' | 'items' | 'probes' | 'omitted' | 'notes'> {
  omitted: { what: string; reason: string }[];
  notes: string[];
  items: z.input<typeof itemSchema>[];
  probes: z.input<typeof probeRowSchema>[];
}
