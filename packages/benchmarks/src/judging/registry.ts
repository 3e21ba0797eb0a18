// Every kind of benchmark by its name. Adding one is a line here.

import { chair } from '../kinds/chair.ts';
import { classify, cueConflict } from '../kinds/classify.ts';
import { corruptions } from '../kinds/corruptions.ts';
import { mmvp } from '../kinds/mmvp.ts';
import { mmvpVlm } from '../kinds/mmvp-vlm.ts';
import { pope } from '../kinds/pope.ts';
import { probes } from '../kinds/probes.ts';
import { retrieval } from '../kinds/retrieval.ts';
import { robustVqa } from '../kinds/robustvqa.ts';
import type { Kind } from '../suite/manifest.ts';
import type { SuiteKind } from './kind.ts';

const KINDS_OF: Readonly<Record<Kind, SuiteKind>> = {
  pope,
  robustvqa: robustVqa,
  mmvp,
  'mmvp-vlm': mmvpVlm,
  chair,
  classify,
  retrieval,
  corruptions,
  'cue-conflict': cueConflict,
  probes,
};

export const suiteKind = (kind: Kind): SuiteKind => KINDS_OF[kind];
