// A benchmark that is open: its manifest, its questions, and a reader of its pictures. Folders, emoji worlds and tars
// all look like this to whoever asks.

import type { Rgb8 } from '@fovea/data';
import type { Item, PictureRef, ProbeRow } from './item.ts';
import type { Manifest } from './manifest.ts';

export interface Suite {
  manifest: Manifest;
  items: readonly Item[];
  /** Pictures with known facts; empty where there are none. */
  probes: readonly ProbeRow[];
  /**
   * Reads, checks against its hash, decodes and corrupts a picture. Throws a FoveaError in one sentence that names the
   * picture; the question then counts as an error, and the others go on.
   */
  read(picture: PictureRef): Promise<Rgb8>;
}
