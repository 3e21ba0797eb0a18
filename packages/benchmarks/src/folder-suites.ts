// The questions over a user's own pictures: names among the folder's classes on held-out pictures, and probes of what
// the pixels themselves say. Renditions and re-draws of a class are not known for a folder, so RobustVQA is not asked.

import { FoveaError } from '@fovea/artifacts';
import type { ImageFolder } from '@fovea/data';
import { assignFoils, openFoils } from './foils.ts';
import type { EvalPlan, Item, Omission, PlanOptions, Split } from './plan.ts';
import { MIN_CLUSTERS } from './probes.ts';
import { eachChunk } from './scoring.ts';

/** Questions over the held-out pictures of a folder. Every picture is its own cluster: the classes are not a sample. */
export async function folderPlan(folder: ImageFolder, options: PlanOptions): Promise<EvalPlan> {
  const { classes, imageSize, framing, heldOut } = folder;
  if (heldOut.length === 0 && options.suites.length > 0) {
    throw new FoveaError(
      'The recipe keeps no picture of the folder for evaluation; raise data.holdOut, add pictures or leave eval.suites empty.',
    );
  }
  const render: EvalPlan['render'] = async (first, count, out) => {
    out.set((await folder.read(heldOut.slice(first, first + count))).pixels);
  };
  const pictures = { classes, imageSize, render };
  const items = heldOut.map(({ name, label }): Item => ({ id: `id/${name}`, clusterId: name, gold: label }));
  const { foils } = await assignFoils(await openFoils(options, classes), pictures, items, 0, options);
  const rows = Int32Array.from(items.keys());
  const omitted: Omission[] = [];
  const { suites } = options;
  if (suites.includes('robustvqa')) {
    omitted.push({
      suite: 'robustvqa',
      split: 'all',
      reason: 'a picture folder says nothing of renditions and re-draws',
    });
  }
  const probed = suites.includes('probes') && heldOut.length >= MIN_CLUSTERS;
  if (suites.includes('probes') && !probed) {
    omitted.push({ suite: 'probes', split: 'id', reason: `fewer than ${MIN_CLUSTERS} held-out pictures` });
  }
  const pixels = new PixelStatistics(heldOut.length, imageSize ** 2);
  if (probed) await eachChunk(pictures, 0, heldOut.length, options, (chunk, at, n) => pixels.add(chunk, at, n));
  const splits: Split[] = suites.includes('retention') ? [{ suite: 'retention', split: 'id', rows }] : [];
  return {
    source: { kind: folder.kind, imageSize, framing },
    ...pictures,
    items,
    foils,
    foilKind: options.foil === null ? 'seeded-random' : 'independent-encoder',
    splits,
    probe: probed ? { rows, targets: pixels.targets() } : null,
    omitted,
  };
}

/** Mean colour and brightness of pictures, gathered chunk by chunk. */
class PixelStatistics {
  readonly #colour: Float64Array;
  readonly #brightness: Float64Array;
  readonly #plane: number;

  constructor(pictures: number, plane: number) {
    this.#colour = new Float64Array(3 * pictures);
    this.#brightness = new Float64Array(pictures);
    this.#plane = plane;
  }

  /** `pixels` [n, 3, H, W] of the pictures at … at + n − 1. */
  add(pixels: Float32Array, at: number, n: number): void {
    const plane = this.#plane;
    for (let i = 0; i < n; i++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let p = (3 * i + c) * plane, end = p + plane; p < end; p++) sum += pixels[p];
        this.#colour[3 * (at + i) + c] = sum / plane;
      }
      // Luma of ITU-R BT.709.
      const [r, g, b] = this.#colour.subarray(3 * (at + i), 3 * (at + i) + 3);
      this.#brightness[at + i] = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    }
  }

  targets() {
    return [
      { name: 'colour', columns: 3, values: this.#colour },
      { name: 'brightness', columns: 1, values: this.#brightness },
    ];
  }
}
