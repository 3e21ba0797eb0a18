// Reads the pictures that a suite shows: finds the file or the member of a tar, checks its hash, decodes it within bounds,
// and corrupts it where the question says so. Every fault is one sentence that names the picture and belongs to its
// question alone.

import { FoveaError, sha256Hex } from '@fovea/artifacts';
import { decodePicture, PictureFiles } from '@fovea/data';
import { centreSquare } from '../corruptions/frame.ts';
import { corrupt } from '../corruptions/index.ts';
import type { PictureRef } from './item.ts';
import type { Suite } from './suite.ts';

const MAX_PIXELS = 50_000_000;

export interface PictureSource {
  /** Folder that paths start from; a file is refused where there is none. */
  folder: string | null;
  /** Draws scenes, without their corruption; a scene is refused where nothing draws. */
  draw?: Suite['read'];
}

export async function pictureReader({ folder, draw }: PictureSource): Promise<Suite['read']> {
  const files = folder === null ? null : await PictureFiles.open(folder, MAX_PIXELS);
  return async (picture) => {
    const pixels = picture.kind === 'file' ? await readFilePicture(files, picture) : await drawScene(draw, picture);
    const shown = picture.kind === 'file' && picture.square ? centreSquare(pixels, picture.square) : pixels;
    return picture.corruption ? corrupt(shown, picture.corruption) : shown;
  };
}

function drawScene(draw: Suite['read'] | undefined, picture: PictureRef) {
  if (draw === undefined)
    throw new FoveaError('A picture of the suite is a scene to be drawn, and its world is not known here.');
  return draw(picture);
}

async function readFilePicture(files: PictureFiles | null, picture: Extract<PictureRef, { kind: 'file' }>) {
  const { path: name, sha256, width, height } = picture;
  const fail = (why: string): never => {
    throw new FoveaError(`The picture "${name}" cannot be read: ${why}.`);
  };
  if (files === null) return fail('the suite has no pictures of its own; name their folder with --images');
  // Before it is decoded: a picture may not cost more than it is said to.
  if (width * height > MAX_PIXELS) fail(`it has ${width} × ${height} pixels, more than ${MAX_PIXELS}`);
  const bytes = await files.read(name);
  if (sha256Hex(bytes) !== sha256) fail('its bytes are not those that the suite was made from (another SHA-256)');
  return decodePicture(bytes, { where: name, maxPixels: MAX_PIXELS });
}
