// What the benchmarks see of a model: pictures and names go in, features of one shared space come out. Who computes
// them, and on which engine, is not known here; @fovea/alignment turns a checkpoint into one of these.

/** A model under test, or the independent one that foils are taken from. */
export interface ImageTextEncoder {
  /**
   * Features of pictures in the shared image–text space, L2-normalised: [n, dim].
   * @param pixels [n, 3, H, W], RGB in [0, 1]; only valid until the promise settles
   * @param n number of pictures, 1 to 256
   */
  imageFeatures(pixels: Float32Array, n: number): Promise<Float32Array>;
  /** Features of class names, L2-normalised: [names.length, dim]. The prompt around a name is the subject's own. */
  textFeatures(names: string[]): Promise<Float32Array>;
  /** Width of the shared space. */
  dim: number;
}

/** One thing an engine says while it works. */
export interface Progress {
  step: number;
  steps: number;
  text?: string;
}
