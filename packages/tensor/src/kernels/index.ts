import type { KernelRules } from '../emitter.ts';
import { activation } from './activation.ts';
import { attention } from './attention.ts';
import { channelNorm } from './channel-norm.ts';
import { conv } from './conv.ts';
import { elementwise } from './elementwise.ts';
import { loss } from './loss.ts';
import { nhwc } from './nhwc.ts';
import { norm } from './norm.ts';
import { order } from './order.ts';
import { pool } from './pool.ts';
import { reduce } from './reduce.ts';
import { resize } from './resize.ts';
import { scan } from './scan.ts';
import { shape } from './shape.ts';

/** Every kernel that can be recorded, by its tfjs name. */
export const KERNELS: KernelRules = {
  ...elementwise,
  ...reduce,
  ...shape,
  ...scan,
  ...norm,
  ...channelNorm,
  ...activation,
  ...conv,
  ...pool,
  ...resize,
  ...nhwc,
  ...attention,
  ...loss,
  ...order,
};
