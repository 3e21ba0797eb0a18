// What builders take from a user's disk: a question file's text, and what is to be known of the pictures that it names.
// Bounds and paths are minded by those whom it asks (safe-files.ts, PictureFiles of @fovea/data). Nothing is written.

import { FoveaError, inParallel, sha256Hex } from '@fovea/artifacts';
import { LeadsOut, type PictureFiles } from '@fovea/data';
import type { Draft } from '../suite/draft.ts';
import { pathFault, readBounded } from '../suite/safe-files.ts';

/** Of question files; the largest published one has about 20 MB. */
const MOST_BYTES = 2 ** 28;
/** Pictures decoded at once. */
const LANES = 4;

/** A picture of a suite: its path below the picture folder, hash of its bytes, sides in pixels. */
export interface PictureFacts {
  path: string;
  sha256: string;
  width: number;
  height: number;
}

export interface TextFile {
  text: string;
  sha256: string;
}

/** A file as UTF-8, with its hash. Throws a {@link FoveaError} where it is missing, larger than 256 MiB or no UTF-8. */
export async function readText(file: string): Promise<TextFile> {
  const bytes = await readBounded(file, MOST_BYTES, `The file "${file}"`);
  try {
    return { text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes), sha256: sha256Hex(bytes) };
  } catch {
    throw new FoveaError(`The file "${file}" cannot be read: it is no UTF-8 text; convert it.`);
  }
}

/** The same path. Throws a {@link FoveaError} where `where` names a picture by a path that leads out of its folder. */
export function plainPath(relative: string, where: string): string {
  const fault = pathFault(relative);
  if (fault === null) return relative;
  throw new FoveaError(
    `The picture path ${JSON.stringify(relative)} in "${where}" is refused: ${fault}; a file with such a path is not read.`,
  );
}

/**
 * Facts of pictures by their paths; what is missing or damaged is in `lost` with one sentence, in the order of `paths`, so
 * that the others may go on. Throws a {@link FoveaError} where a link leads out of the folder.
 */
export async function lookAtAll(
  pictures: PictureFiles,
  paths: readonly string[],
): Promise<{ found: Map<string, PictureFacts>; lost: Draft['omitted'] }> {
  const lost: Draft['omitted'] = [];
  const looks = await inParallel(
    paths,
    LANES,
    async (path): Promise<PictureFacts | { what: string; reason: string }> => {
      try {
        return { path, ...(await pictures.look(path)) };
      } catch (error) {
        if (!(error instanceof FoveaError) || error instanceof LeadsOut) throw error;
        return { what: path, reason: error.message };
      }
    },
  );
  const found = new Map<string, PictureFacts>();
  for (const look of looks) {
    if ('reason' in look) lost.push(look);
    else found.set(look.path, look);
  }
  return { found, lost };
}
