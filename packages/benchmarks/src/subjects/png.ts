// A picture as PNG, for whoever takes pictures only as files: the same pixels give the same bytes.

import { crc32 as crcOf, deflateSync } from 'node:zlib';
import type { Rgb8 } from '@fovea/data';

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

/** 8-bit RGB, not interlaced, lines as they are. */
export function pngOf({ width, height, data }: Rgb8): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const lines = Buffer.alloc(height * (3 * width + 1));
  for (let y = 0; y < height; y++)
    lines.set(data.subarray(3 * width * y, 3 * width * (y + 1)), y * (3 * width + 1) + 1);
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(lines)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(type: string, body: Buffer): Buffer {
  const out = Buffer.alloc(body.length + 12);
  out.writeUInt32BE(body.length, 0);
  out.write(type, 4, 'latin1');
  out.set(body, 8);
  out.writeUInt32BE(crcOf(out.subarray(4, body.length + 8)), body.length + 8);
  return out;
}
