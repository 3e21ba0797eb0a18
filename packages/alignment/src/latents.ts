// The latents of a folder's pictures, encoded once by a round of their own and kept in the store: later rounds read a mean,
// and where latents are drawn a deviation, instead of running the autoencoder. The cache is found again by what made it
// (pictures, autoencoder, size), so it outlives runs, and one that is lost costs time alone.

import {
  canonicalJson,
  decodeSafetensors,
  encodeSafetensors,
  FoveaError,
  fileHash,
  type Store,
  sha256Hex,
} from '@fovea/artifacts';
import type { Dataset, Pictures } from '@fovea/data';
import type { Recipe } from '@fovea/recipe';
import { compile, type Tensor } from '@fovea/tensor';
import { fillNormal } from '@fovea/tensor/random';
import type { Networks } from './networks.ts';

/** Sets whose latents are larger are not cached. */
const MOST_BYTES = 2 ** 31;
const CHUNK = 8;

interface Entry {
  /** Null for a set that does not fit. */
  sha256: string | null;
  pictures: number;
}

const refOf = (key: string) => `latents/${key}.json`;

/** Where a run's latents are kept: by all that decides them. */
async function keyOf(pictures: Pictures, recipe: Recipe, { frozen, latent }: Networks): Promise<string> {
  const files = new Set(
    Object.entries(frozen).flatMap(([name, tensor]) =>
      name.startsWith('autoencoder.') && 'file' in tensor ? [tensor.file] : [],
    ),
  );
  const hashes = await Promise.all([...files].sort().map((file) => fileHash(file)));
  const { targetSize } = recipe.diffusion;
  const made = {
    pictures: await pictures.key(),
    hashes,
    latent,
    targetSize: targetSize ?? null,
    ...recipe.autoencoder,
  };
  return sha256Hex(new TextEncoder().encode(canonicalJson({ ...made, from: null, version: 1 })));
}

/** Encodes all pictures of a data set into the store, unless they are there or are too many. */
export async function encodeLatents(
  store: Store,
  dataset: Dataset,
  recipe: Recipe,
  networks: Networks,
  report: (done: number, of: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const { pictures } = dataset;
  const { spread, latent } = networks;
  if (!pictures || !spread) return;
  const key = await keyOf(pictures, recipe, networks);
  if (await store.readRef(refOf(key))) return;
  const size = latent.reduce((a, b) => a * b, 1);
  const parts = networks.drawsLatents ? 2 : 1;
  if (4 * parts * size * pictures.count > MOST_BYTES) {
    await store.writeRef(refOf(key), { sha256: null, pictures: pictures.count } satisfies Entry);
    return;
  }
  const { imageSize } = networks;
  const program = await compile(
    ({ pixels }, _state, p) => {
      const { mean, deviation } = spread(p, pixels);
      return { outputs: { mean, ...(deviation && { deviation }) } as Record<string, Tensor> };
    },
    { inputs: { pixels: { shape: [CHUNK, 3, imageSize, imageSize], dtype: 'float32' } }, constants: networks.frozen },
    { threads: recipe.engine.threads, device: recipe.engine.device },
  );
  const tensors = new Map(
    ['mean', 'deviation']
      .slice(0, parts)
      .map((name) => [name, { shape: [pictures.count, ...latent], data: new Float32Array(pictures.count * size) }]),
  );
  try {
    for (let first = 0; first < pictures.count; first += CHUNK) {
      signal.throwIfAborted();
      const n = Math.min(CHUNK, pictures.count - first);
      const pixels = new Float32Array(CHUNK * 3 * imageSize ** 2);
      pixels.set(await pictures.read(first, n));
      const out = await program.run({ pixels });
      for (const [name, { data }] of tensors) data.set((out[name] as Float32Array).subarray(0, n * size), first * size);
      report(first + n, pictures.count);
    }
  } finally {
    await program.dispose();
  }
  const { sha256 } = await store.put(encodeSafetensors(tensors));
  await store.writeRef(refOf(key), { sha256, pictures: pictures.count } satisfies Entry);
}

/** The same networks fed by the store's latents; the networks themselves where there are none. */
export async function withLatents(
  store: Store,
  dataset: Dataset,
  recipe: Recipe,
  networks: Networks,
): Promise<Networks> {
  const { pictures } = dataset;
  if (!pictures || !networks.spread || recipe.autoencoder?.cache !== true) return networks;
  const key = await keyOf(pictures, recipe, networks);
  const entry = (await store.readRef(refOf(key))) as Entry | null;
  if (!entry?.sha256) return networks;
  const { tensors } = decodeSafetensors(await store.get(entry.sha256), 'the cached latents');
  const mean = tensors.get('mean')?.data as Float32Array | undefined;
  const deviation = tensors.get('deviation')?.data as Float32Array | undefined;
  const size = networks.latent.reduce((a, b) => a * b, 1);
  if (mean?.length !== size * pictures.count)
    throw new FoveaError(
      'The cached latents do not fit the pictures; remove refs/latents from the store and start again.',
    );
  return {
    ...networks,
    drawsLatents: true,
    clean: (_p, _pixels, latents) => latents as Tensor,
    cached({ seed, stream }, sample, out) {
      const at = pictures.placeOf({ seed, stream }, sample) * size;
      if (deviation) fillNormal(out, 0, size, seed, `${stream}/latent`, 0, sample);
      for (let i = 0; i < size; i++) out[i] = mean[at + i] + (deviation ? deviation[at + i] * out[i] : 0);
    },
  };
}
