import type { KernelRules } from '../emitter.ts';
import { activation } from './activation.ts';
import { channelNorm } from './channel-norm.ts';
import { conv } from './conv.ts';
import { elementwise } from './elementwise.ts';
import { norm } from './norm.ts';
import { reduce } from './reduce.ts';
import { resize } from './resize.ts';
import { shape } from './shape.ts';

/** Every kernel that can be recorded, by its tfjs name. */
export const KERNELS: KernelRules = {
  ...elementwise,
  ...reduce,
  ...shape,
  ...norm,
  ...channelNorm,
  ...activation,
  ...conv,
  ...resize,
};
