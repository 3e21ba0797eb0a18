import type { KernelRules } from '../emitter.ts';
import { activation } from './activation.ts';
import { attention } from './attention.ts';
import { elementwise } from './elementwise.ts';
import { loss } from './loss.ts';
import { norm } from './norm.ts';
import { order } from './order.ts';
import { reduce } from './reduce.ts';
import { shape } from './shape.ts';

/** Every kernel that can be recorded, by its tfjs name. */
export const KERNELS: KernelRules = {
  ...elementwise,
  ...reduce,
  ...shape,
  ...norm,
  ...activation,
  ...attention,
  ...loss,
  ...order,
};
