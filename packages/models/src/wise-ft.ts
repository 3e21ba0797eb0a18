// Weight-space ensembles (Wortsman et al. 2022, WiSE-FT): parameters on the straight line from a model to its fine-tuned
// self, which often keep the old skills and most of the new.

import { FoveaError } from '@fovea/artifacts';
import type { Weights } from './params.ts';

/**
 * (1 − alpha) · start + alpha · end, for alpha in [0, 1]; 0 and 1 give the ends' very bits, and so does any alpha where the
 * two are equal. A FoveaError if alpha is out of range or the two differ in names or shapes.
 */
export function interpolate(start: Weights, end: Weights, alpha: number): Weights {
  if (!(alpha >= 0 && alpha <= 1))
    throw new FoveaError(`Weights cannot be interpolated by alpha ${alpha}; give a number from 0 to 1.`);
  const odd = [...Object.keys(start), ...Object.keys(end)].find(
    (name) => !(Object.hasOwn(start, name) && Object.hasOwn(end, name)),
  );
  if (odd !== undefined)
    throw new FoveaError(
      `Weights cannot be interpolated: only the ${Object.hasOwn(start, odd) ? 'start' : 'end'} has "${odd}"; give two checkpoints of one model.`,
    );
  const mixed: Weights = {};
  for (const [name, { shape, data }] of Object.entries(start)) {
    const other = end[name];
    if (shape.join() !== other.shape.join())
      throw new FoveaError(
        `Weights cannot be interpolated: "${name}" is [${shape}] at the start and [${other.shape}] at the end; give two checkpoints of one model.`,
      );
    mixed[name] = { shape, data: between(data, other.data, alpha) };
  }
  return mixed;
}

function between(a: Float32Array, b: Float32Array, alpha: number): Float32Array {
  if (alpha === 0 || alpha === 1) return (alpha === 0 ? a : b).slice();
  return a.map((x, i) => (x === b[i] ? x : x + alpha * (b[i] - x)));
}
