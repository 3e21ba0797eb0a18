// POPE (Li et al. 2023, arXiv 2305.10355): is there a … in the image? Random, popular and adversarial negatives are
// splits of one suite. Questions come from build-pope.ts; judging and measuring are those of every yes/no benchmark.

import type { SuiteKind } from '../judging/kind.ts';
import { measureYesNo } from './answers/measure-yes-no.ts';
import { YES_NO_SCORERS } from './answers/yes-no.ts';

export const pope: SuiteKind = {
  kind: 'pope',
  scorers: YES_NO_SCORERS,
  measure: (suite, judged, options) => measureYesNo(suite.manifest.name, judged, options),
};
