// Ice on a window, drawn: fern-like crystals (a stem with barbs at 60°, as ice grows) on an uneven bluish sheet. It stands
// in for the six photographs of the published frost, which are others' pictures; brightness, contrast, tint and the
// fineness of detail follow what was measured on those, so a score under it resembles theirs but is not comparable.

import { gaussianBlur, numbers } from './filters.ts';
import { type Draws, WORD } from './noise.ts';
import { plasma } from './plasma.ts';

/** One crystal on so many pixels. */
const AREA = 300;
/** What a crystal draws: place, direction, size, brightness, barbs. */
const PER_CRYSTAL = 6;

interface Canvas {
  width: number;
  height: number;
  data: Float64Array;
}

/** RGB in [0, 255] over [height, width, 3], every window different. */
export function drawIce(width: number, height: number, draws: Draws): Float64Array {
  const [shade, roughness, tint] = Array.from(draws.words(3, 0), (word) => word / WORD);
  const crystals = standardise(drawCrystals(width, height, draws));
  const sheet = standardise(drawSheet(width, height, draws));
  const mean = 133 + 80 * shade;
  const std = 16 + 18 * roughness;
  const blue = 2 + 30 * tint;
  const out = new Float64Array(3 * width * height);
  for (let i = 0; i < crystals.length; i++) {
    const level = mean + std * (0.9 * crystals[i] + 0.43 * sheet[i]);
    out[3 * i] = clip(level - 1.06 * blue);
    out[3 * i + 1] = clip(level + 0.18 * blue);
    out[3 * i + 2] = clip(level + 0.88 * blue);
  }
  return out;
}

const clip = (value: number) => Math.min(255, Math.max(0, value));

function standardise(values: Float64Array): Float64Array {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const std = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length) || 1;
  return values.map((value) => (value - mean) / std);
}

function drawSheet(width: number, height: number, draws: Draws): Float64Array {
  let side = 1;
  while (side < Math.max(width, height)) side *= 2;
  const map = plasma(side, 1.25, draws, 1);
  return numbers(width * height, (i) => map[Math.floor(i / width) * side + (i % width)]);
}

function drawCrystals(width: number, height: number, draws: Draws): Float64Array {
  const count = Math.ceil((width * height) / AREA);
  const words = draws.words(count * PER_CRYSTAL, 2);
  const canvas: Canvas = { width, height, data: new Float64Array(width * height) };
  for (let i = 0; i < count; i++) {
    const [x, y, turn, size, light, barbs] = Array.from(
      words.subarray(i * PER_CRYSTAL, (i + 1) * PER_CRYSTAL),
      (word) => word / WORD,
    );
    const length = 8 + 50 * size * size;
    drawCrystal(canvas, x * width, y * height, 2 * Math.PI * turn, length, 0.4 + light, 2 + 3 * barbs);
  }
  const soft = gaussianBlur({ width, height, channels: 1, data: canvas.data }, 0.42);
  return soft.data.map((value) => 1 - Math.exp(-value));
}

/** A stem, and barbs along it that shorten towards its tip. */
function drawCrystal(
  canvas: Canvas,
  x: number,
  y: number,
  angle: number,
  length: number,
  light: number,
  spacing: number,
): void {
  const [dx, dy] = [Math.cos(angle), Math.sin(angle)];
  drawLine(canvas, x, y, dx, dy, length, 1.4 * light);
  for (let at = spacing; at < length; at += spacing) {
    const barb = 0.45 * (length - at);
    for (const side of [-1, 1]) {
      const [cos, sin] = [0.5, side * (Math.sqrt(3) / 2)];
      drawLine(canvas, x + at * dx, y + at * dy, dx * cos - dy * sin, dx * sin + dy * cos, barb, light);
    }
  }
}

/** Light shared between the four pixels around each point of a line. */
function drawLine(
  { width, height, data }: Canvas,
  x: number,
  y: number,
  dx: number,
  dy: number,
  length: number,
  light: number,
): void {
  for (let i = 0; i < length; i++, x += dx, y += dy) {
    const [left, top] = [Math.floor(x), Math.floor(y)];
    if (left < 0 || top < 0 || left + 1 >= width || top + 1 >= height) continue;
    const [u, v, at] = [x - left, y - top, top * width + left];
    data[at] += light * (1 - u) * (1 - v);
    data[at + 1] += light * u * (1 - v);
    data[at + width] += light * (1 - u) * v;
    data[at + width + 1] += light * u * v;
  }
}
