// What training and evaluation ask of a data set. Sample i of a stream depends on (seed, stream, i) alone: not on batch
// size, prefetching, restarts or who asks.

import type { Factors } from './scene.ts';

export interface Sample {
  /** Index into the data set's classes. */
  label: number;
  /** Emoji style, or the file's name relative to the folder. */
  style: string;
  /** Null where nobody knows them. */
  factors: Factors | null;
}

export interface Batch {
  /** [B, 3, H, W], RGB in [0, 1]. */
  pixels: Float32Array;
  /** [B] class indices. */
  labels: Int32Array;
  samples: Sample[];
}

export interface BatchQuery {
  seed: number;
  /** Name of the stream: a stage, or `probe`. */
  stream: string;
  /** Number of the first sample in the stream. */
  first: number;
  size: number;
}

/** The training part of a data set that has an end, in an order of its own. */
export interface Pictures {
  count: number;
  /** Changes when a picture, its place or how it is decoded does. */
  key(): Promise<string>;
  /** [n, 3, H, W] from place `first`. */
  read(first: number, n: number): Promise<Float32Array>;
  /** Place of a stream's sample. */
  placeOf(query: Pick<BatchQuery, 'seed' | 'stream'>, sample: number): number;
}

export interface Dataset {
  kind: 'emoji-world' | 'image-folder';
  /** Class names as prompts; unique. */
  classes: string[];
  imageSize: number;
  /** Pictures in the training part; Infinity for a synthetic world. */
  trainSize: number;
  trainBatch(query: BatchQuery): Promise<Batch>;
  /** Absent where pictures are made up without end. */
  pictures?: Pictures;
}
