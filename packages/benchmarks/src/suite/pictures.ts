// Reads the pictures that a suite shows: finds the file, checks its hash, decodes it within bounds and corrupts it where the
// question says so. Every fault is one sentence that names the picture, and belongs to one question.

import { FoveaError, sha256Hex } from '@fovea/artifacts';
import { decodePicture } from '@fovea/data';
import type { PictureRef } from './item.ts';
import { placeBelow, readBounded } from './safe-files.ts';
import type { Suite } from './suite.ts';

/** Of a picture's file: 50 million pixels, 16 bits of four channels, are less. */
const MAX_FILE = 512 * 2 ** 20;
const MAX_PIXELS = 50_000_000;

/** `root`: the real path of the folder that paths start from; null refuses files. `draw` renders scenes. */
export function pictureReader(root: string | null, draw?: Suite['read']): Suite['read'] {
  return async (picture) => {
    if (picture.kind === 'scene') {
      if (draw === undefined) throw new FoveaError('The picture is a scene, and nothing here can draw it.');
      return draw(picture);
    }
    return readFilePicture(root, picture);
  };
}

async function readFilePicture(root: string | null, picture: Extract<PictureRef, { kind: 'file' }>) {
  const { path: name, sha256, width, height } = picture;
  const fail = (why: string): never => {
    throw new FoveaError(`The picture "${name}" cannot be read: ${why}.`);
  };
  if (root === null) return fail('the suite has no pictures of its own; name their folder with --images');
  // Before it is decoded: what is said of it may not cost anything.
  if (width * height > MAX_PIXELS) fail(`it has ${width} × ${height} pixels, more than ${MAX_PIXELS}`);
  const place = await placeBelow(root, name);
  if (place === null) return fail('there is no such file');
  const bytes = await readBounded(place, MAX_FILE, `The picture "${name}"`);
  if (sha256Hex(bytes) !== sha256) fail('its bytes are not those that the suite was made with (other SHA-256)');
  return decodePicture(bytes, { where: name, maxPixels: MAX_PIXELS });
}
