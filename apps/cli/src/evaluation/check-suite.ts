// Reads every picture of a suite once, as an evaluation would, and says which cannot be read.

import type { PictureRef, Suite } from '@fovea/benchmarks/judging';

/** One sentence for each picture that cannot be read. */
export async function checkPictures(suite: Suite): Promise<string[]> {
  const pictures = [...suite.items.flatMap((item) => item.pictures), ...suite.probes.map((row) => row.picture)];
  const distinct = new Map<string, PictureRef>(pictures.map((picture) => [JSON.stringify(picture), picture]));
  const faults: string[] = [];
  for (const picture of distinct.values())
    await suite.read(picture).catch((error: Error) => void faults.push(error.message));
  return faults;
}
