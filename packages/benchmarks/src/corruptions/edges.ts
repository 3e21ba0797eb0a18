// Edges by Canny (1986) in whole numbers, and how far each pixel is from the nearest one (Borgefors' 5 × 5 chamfer, 1986):
// what the rims of drops in spatter.ts are made of.

import { inside, numbers } from './filters.ts';

/** tan 22.5° and tan 67.5°: where a gradient counts as level, upright or slanted. */
const [TAN_LOW, TAN_HIGH] = [Math.SQRT2 - 1, Math.SQRT2 + 1];

/** 1 where an edge is: a ridge of the Sobel gradient |dx| + |dy| over `high`, or over `low` and joined to one over `high`. */
export function findEdges(grey: Uint8Array, width: number, height: number, low: number, high: number): Uint8Array {
  const { dx, dy, size, stride } = gradients(grey, width, height);
  const edges = new Uint8Array(width * height);
  const weak = new Uint8Array(width * height);
  const open: number[] = [];
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const at = (y + 1) * stride + x + 1;
      if (size[at] <= low || !isRidge(dx[i], dy[i], size, at, stride)) continue;
      weak[i] = 1;
      if (size[at] > high) open.push(i);
    }
  }
  while (open.length > 0) {
    const i = open.pop() as number;
    if (edges[i]) continue;
    edges[i] = 1;
    const [x, y] = [i % width, Math.floor(i / width)];
    for (let ny = Math.max(0, y - 1); ny <= Math.min(height - 1, y + 1); ny++) {
      for (let nx = Math.max(0, x - 1); nx <= Math.min(width - 1, x + 1); nx++) {
        if (weak[ny * width + nx] && !edges[ny * width + nx]) open.push(ny * width + nx);
      }
    }
  }
  return edges;
}

/** Sobel's gradients, and |dx| + |dy| with a rim of zeros around it (rows are `stride` long). */
function gradients(grey: Uint8Array, width: number, height: number) {
  const stride = width + 2;
  const [dx, dy] = [new Int32Array(width * height), new Int32Array(width * height)];
  const size = new Int32Array(stride * (height + 2));
  for (let y = 0, i = 0; y < height; y++) {
    const [up, here, down] = [-1, 0, 1].map((d) => inside(y + d, height, 'clamp') * width);
    for (let x = 0; x < width; x++, i++) {
      const left = Math.max(0, x - 1);
      const right = Math.min(width - 1, x + 1);
      const diagonals = [grey[up + left], grey[up + right], grey[down + left], grey[down + right]];
      dx[i] = diagonals[1] + diagonals[3] - diagonals[0] - diagonals[2] + 2 * (grey[here + right] - grey[here + left]);
      dy[i] = diagonals[2] + diagonals[3] - diagonals[0] - diagonals[1] + 2 * (grey[down + x] - grey[up + x]);
      size[(y + 1) * stride + x + 1] = Math.abs(dx[i]) + Math.abs(dy[i]);
    }
  }
  return { dx, dy, size, stride };
}

/** Whether the gradient falls on both sides across the edge; of two equal ones the first counts. */
function isRidge(dx: number, dy: number, size: Int32Array, at: number, stride: number): boolean {
  const [across, along] = [Math.abs(dx), Math.abs(dy)];
  if (along < across * TAN_LOW) return size[at] > size[at - 1] && size[at] >= size[at + 1];
  if (along > across * TAN_HIGH) return size[at] > size[at - stride] && size[at] >= size[at + stride];
  const slant = dx < 0 !== dy < 0 ? -1 : 1;
  return size[at] > size[at - stride - slant] && size[at] > size[at + stride + slant];
}

/** Distance in pixels from the nearest edge; far away where there is none. */
export function distanceToEdges(edges: Uint8Array, width: number, height: number): Float64Array {
  const stride = width + 4;
  const far = new Float64Array(stride * (height + 4)).fill(width + height);
  for (let i = 0; i < edges.length; i++) if (edges[i]) far[(Math.floor(i / width) + 2) * stride + (i % width) + 2] = 0;
  const relax = (at: number, row: number, one: number) => {
    const straight = Math.min(far[at - one], far[at - row]) + 1;
    const slanted = Math.min(far[at - row - one], far[at - row + one]) + 1.4;
    const flat = Math.min(far[at - row - 2 * one], far[at - row + 2 * one]);
    const steep = Math.min(far[at - 2 * row - one], far[at - 2 * row + one]);
    far[at] = Math.min(far[at], straight, slanted, flat + 2.1969, steep + 2.1969);
  };
  for (let y = 2; y < height + 2; y++) for (let x = 2; x < width + 2; x++) relax(y * stride + x, stride, 1);
  for (let y = height + 1; y >= 2; y--) for (let x = width + 1; x >= 2; x--) relax(y * stride + x, -stride, -1);
  return numbers(edges.length, (i) => far[(Math.floor(i / width) + 2) * stride + (i % width) + 2]);
}
