// The numbers of ImageNet-C (Hendrycks & Dietterich, ICLR 2019): which corruptions there are, how strong each is from
// severity 1 to 5, and what AlexNet makes of them. Facts only; how pixels change stands in noise.ts, blur.ts, weather.ts
// and digital.ts.

/** The 15 of the benchmark in the order of the paper's table. */
export const BENCHMARK_15 = [
  'gaussian_noise',
  'shot_noise',
  'impulse_noise',
  'defocus_blur',
  'glass_blur',
  'motion_blur',
  'zoom_blur',
  'snow',
  'frost',
  'fog',
  'brightness',
  'contrast',
  'elastic_transform',
  'pixelate',
  'jpeg_compression',
] as const;

/** For tuning only: never part of an mCE. */
export const HOLD_OUT_4 = ['speckle_noise', 'gaussian_blur', 'spatter', 'saturate'] as const;

export const CORRUPTIONS = [...BENCHMARK_15, ...HOLD_OUT_4] as const;
export type CorruptionName = (typeof CORRUPTIONS)[number];

export const FAMILIES = {
  noise: ['gaussian_noise', 'shot_noise', 'impulse_noise'],
  blur: ['defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur'],
  weather: ['snow', 'frost', 'fog', 'brightness'],
  digital: ['contrast', 'elastic_transform', 'pixelate', 'jpeg_compression'],
} as const satisfies Record<string, readonly CorruptionName[]>;

/** Those that always give the same pixels; the seed is nothing to them. */
export const SEEDLESS: ReadonlySet<CorruptionName> = new Set([
  'defocus_blur',
  'zoom_blur',
  'brightness',
  'contrast',
  'pixelate',
  'jpeg_compression',
  'gaussian_blur',
  'saturate',
]);

/** Parameters of severity 1 to 5, with pixels in [0, 1] where nothing else is said. */
export const PARAMETERS = {
  /** Standard deviation. */
  gaussian_noise: [0.08, 0.12, 0.18, 0.26, 0.38],
  /** Photons of full white. */
  shot_noise: [60, 25, 12, 5, 3],
  /** Part of the values that become black or white. */
  impulse_noise: [0.03, 0.06, 0.09, 0.17, 0.27],
  /** Standard deviation relative to the value. */
  speckle_noise: [0.15, 0.2, 0.35, 0.45, 0.6],
  /** σ in pixels. */
  gaussian_blur: [1, 2, 3, 4, 6],
  /** σ in pixels, how far a pixel is carried, how often. */
  glass_blur: [
    { sigma: 0.7, reach: 1, rounds: 2 },
    { sigma: 0.9, reach: 2, rounds: 1 },
    { sigma: 1, reach: 2, rounds: 3 },
    { sigma: 1.1, reach: 3, rounds: 2 },
    { sigma: 1.5, reach: 4, rounds: 2 },
  ],
  /** Pixels; `soften` is the σ that rounds the disk's rim. */
  defocus_blur: [
    { radius: 3, soften: 0.1 },
    { radius: 4, soften: 0.5 },
    { radius: 6, soften: 0.5 },
    { radius: 8, soften: 0.5 },
    { radius: 10, soften: 0.5 },
  ],
  /** Pixels; the trail is 2 · radius + 1 long. */
  motion_blur: [
    { radius: 10, sigma: 3 },
    { radius: 15, sigma: 5 },
    { radius: 15, sigma: 8 },
    { radius: 15, sigma: 12 },
    { radius: 20, sigma: 15 },
  ],
  /** Zooms by 1, 1 + step, …; the counts are what NumPy's arange gives for the published ends. */
  zoom_blur: [
    { step: 0.01, count: 12 },
    { step: 0.01, count: 16 },
    { step: 0.02, count: 11 },
    { step: 0.02, count: 13 },
    { step: 0.03, count: 11 },
  ],
  /** Flakes are normal noise over `threshold`, enlarged and moved; `keep` of the picture stays as it is. */
  snow: [
    { mean: 0.1, std: 0.3, zoom: 3, threshold: 0.5, radius: 10, sigma: 4, keep: 0.8 },
    { mean: 0.2, std: 0.3, zoom: 2, threshold: 0.5, radius: 12, sigma: 4, keep: 0.7 },
    { mean: 0.55, std: 0.3, zoom: 4, threshold: 0.9, radius: 12, sigma: 8, keep: 0.7 },
    { mean: 0.55, std: 0.3, zoom: 4.5, threshold: 0.85, radius: 12, sigma: 8, keep: 0.65 },
    { mean: 0.55, std: 0.3, zoom: 2.5, threshold: 0.85, radius: 12, sigma: 12, keep: 0.55 },
  ],
  /** Weights of the picture and of the ice. */
  frost: [
    { picture: 1, ice: 0.4 },
    { picture: 0.8, ice: 0.6 },
    { picture: 0.7, ice: 0.7 },
    { picture: 0.65, ice: 0.7 },
    { picture: 0.6, ice: 0.75 },
  ],
  /** How thick, and how quickly its roughness falls from one scale to the next. */
  fog: [
    { thickness: 1.5, decay: 2 },
    { thickness: 2, decay: 2 },
    { thickness: 2.5, decay: 1.7 },
    { thickness: 2.5, decay: 1.5 },
    { thickness: 3, decay: 1.4 },
  ],
  /** Drops are blurred normal noise over `threshold`; `strength` is light for water, σ in pixels for mud. */
  spatter: [
    { mean: 0.65, std: 0.3, sigma: 4, threshold: 0.69, strength: 0.6, mud: false },
    { mean: 0.65, std: 0.3, sigma: 3, threshold: 0.68, strength: 0.6, mud: false },
    { mean: 0.65, std: 0.3, sigma: 2, threshold: 0.68, strength: 0.5, mud: false },
    { mean: 0.65, std: 0.3, sigma: 1, threshold: 0.65, strength: 1.5, mud: true },
    { mean: 0.67, std: 0.4, sigma: 1, threshold: 0.65, strength: 1.5, mud: true },
  ],
  /** Added to V of HSV. */
  brightness: [0.1, 0.2, 0.3, 0.4, 0.5],
  /** Factor about each channel's mean. */
  contrast: [0.4, 0.3, 0.2, 0.1, 0.05],
  /** S of HSV becomes `factor` · S + `add`. */
  saturate: [
    { factor: 0.3, add: 0 },
    { factor: 0.1, add: 0 },
    { factor: 2, add: 0 },
    { factor: 5, add: 0.1 },
    { factor: 20, add: 0.2 },
  ],
  /** Factor of the sides. */
  pixelate: [0.6, 0.5, 0.4, 0.3, 0.25],
  /** Quality of libjpeg. */
  jpeg_compression: [25, 18, 15, 10, 7],
  /** Displacement in pixels per pixel of smoothed noise; as `imagecorruptions` has it, relative to the picture's side. */
  elastic_transform: [12.5, 16.25, 21.25, 25, 30],
} as const satisfies Record<CorruptionName, readonly unknown[]>;

/** AlexNet's top-1 error of each corruption, meaned over the severities (Σ/5 of the public table; 224², quality 85). */
export const ALEXNET_ERROR: Record<(typeof BENCHMARK_15)[number], number> = {
  gaussian_noise: 0.886428,
  shot_noise: 0.894468,
  impulse_noise: 0.92264,
  defocus_blur: 0.81988,
  glass_blur: 0.826268,
  motion_blur: 0.785948,
  zoom_blur: 0.79836,
  snow: 0.866816,
  frost: 0.826572,
  fog: 0.819324,
  brightness: 0.564592,
  contrast: 0.853204,
  elastic_transform: 0.646056,
  pixelate: 0.71784,
  jpeg_compression: 0.6065,
};
