// A process that says the SHA-256 of every corruption at every severity, while libvips decodes beside it on as many
// threads as it is told: THREADS.

import { decodePicture } from '@fovea/data';
import sharp from 'sharp';
import { digestOfAll, SMALL } from '../../src/corruptions/testing.ts';

sharp.concurrency(Number(process.argv[2]));
const { width, height, data } = SMALL;
const png = await sharp(data, { raw: { width, height, channels: 3 } })
  .png()
  .toBuffer();
const busy = Array.from({ length: 16 }, (_, i) => decodePicture(png, { where: `${i}` }));
const [decoded] = await Promise.all(busy);
console.log(digestOfAll(decoded));
