// Flags about judging that several of the eval commands share.

import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import { BOOTSTRAP, MAX_UNKNOWN, type ScoringOptions } from '@fovea/benchmarks/judging';
import type { ArgsDef } from 'citty';
import { wholeNumber } from '../arguments.ts';
import type { Home } from '../home.ts';

export const scoringArgs = {
  'max-unknown': {
    type: 'string',
    default: String(MAX_UNKNOWN),
    valueHint: 'share',
    description: 'Largest share of answers that may not be understood',
  },
  scorer: {
    type: 'string',
    valueHint: 'ID',
    description: 'Judge by this scorer where a suite has it, such as a published script',
  },
  bootstrap: {
    type: 'string',
    default: String(BOOTSTRAP.count),
    valueHint: 'number',
    description: 'Resamples of an interval',
  },
} satisfies ArgsDef;

export function scoringWishes(args: { 'max-unknown': string; scorer?: string; bootstrap: string }): ScoringOptions {
  const maxUnknown = Number(args['max-unknown']);
  if (!(args['max-unknown'].trim() !== '' && maxUnknown >= 0 && maxUnknown <= 1))
    throw new FoveaError(`The flag --max-unknown takes a share from 0 to 1, not "${args['max-unknown']}".`);
  return {
    maxUnknown,
    scorer: args.scorer,
    bootstrap: { ...BOOTSTRAP, count: wholeNumber('bootstrap', args.bootstrap, 100, 1_000_000) },
  };
}

/** Where evaluations go unless --out says otherwise. */
export const evalsFolder = (home: Home): string => path.join(home.root, 'evals');
