// Plasma by the diamond–square algorithm (Fournier, Fussell & Carpenter 1982) on a torus: the haze of fog and the uneven
// sheet under ice.

import { type Draws, WORD } from './noise.ts';

/**
 * Heights in [0, 1] over [side, side]; `side` is a power of two. The published script multiplies its amplitude by
 * itself, so roughness falls by decay² from one scale to the next.
 */
export function plasma(side: number, decay: number, draws: Draws, index = 0): Float64Array {
  const map = new Float64Array(side * side);
  const words = draws.words(side * side, index);
  let drawn = 0;
  let wibble = 100;
  const at = (y: number, x: number) => (y & (side - 1)) * side + (x & (side - 1));
  const set = (y: number, x: number, sum: number) => {
    map[at(y, x)] = sum / 4 + wibble * wibble * ((2 * words[drawn++]) / WORD - 1);
  };
  for (let step = side; step >= 2; step /= 2, wibble /= decay) {
    const half = step / 2;
    for (let y = 0; y < side; y += step) {
      for (let x = 0; x < side; x += step) {
        set(
          y + half,
          x + half,
          map[at(y, x)] + map[at(y + step, x)] + map[at(y, x + step)] + map[at(y + step, x + step)],
        );
      }
    }
    const diamond = (y: number, x: number) =>
      set(y, x, map[at(y - half, x)] + map[at(y + half, x)] + map[at(y, x - half)] + map[at(y, x + half)]);
    for (let y = 0; y < side; y += step) for (let x = 0; x < side; x += step) diamond(y, x + half);
    for (let y = 0; y < side; y += step) for (let x = 0; x < side; x += step) diamond(y + half, x);
  }
  let [low, high] = [map[0], map[0]];
  for (const value of map) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return map.map((value) => (value - low) / (high - low));
}
