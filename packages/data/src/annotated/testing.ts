// Small real sets of annotated pictures for tests: pictures by sharp, tars written byte by byte. Nothing of it is exported.

import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';

/** A PNG of one colour; other levels give other bytes. */
export const png = (level = 0, width = 20, height = 10): Promise<Buffer> =>
  sharp({ create: { width, height, channels: 3, background: { r: level % 256, g: 128, b: 255 - (level % 256) } } })
    .png()
    .toBuffer();

/** Writes a file and the folders above it. */
export async function put(folder: string, name: string, content: Uint8Array | string | object): Promise<void> {
  const file = path.join(folder, name);
  await mkdir(path.dirname(file), { recursive: true });
  const isText = typeof content === 'string' || content instanceof Uint8Array;
  await writeFile(file, isText ? content : JSON.stringify(content));
}

export interface Member {
  name: string;
  content: Uint8Array | string;
  /** Type of the header. @default "0" */
  type?: string;
  /** Of what the header says; the content's own where it is left out. */
  size?: number;
}

const BLOCK = 512;

/** A ustar file with its two blocks of zeros at the end. */
export function tarOf(members: readonly Member[]): Buffer {
  return Buffer.concat([...members.flatMap(memberOf), Buffer.alloc(2 * BLOCK)]);
}

function memberOf({ name, content, type = '0', size }: Member): Buffer[] {
  const body = Buffer.from(content as string);
  const header = Buffer.alloc(BLOCK);
  header.write(name, 0, 100);
  header.write('0000644\0', 100);
  header.write(`${(size ?? body.length).toString(8).padStart(11, '0')}\0`, 124);
  header.write('00000000000\0', 136);
  header.write(' '.repeat(8), 148);
  header.write(type, 156);
  header.write('ustar\x0000', 257);
  header.write(
    `${header
      .reduce((a, b) => a + b, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  );
  return [header, body, Buffer.alloc((BLOCK - (body.length % BLOCK)) % BLOCK)];
}

export const cocoOf = (count: number) => ({
  images: Array.from({ length: count }, (_, i) => ({ id: i, file_name: `${i}.png`, width: 20, height: 10 })),
  categories: [
    { id: 1, name: 'person' },
    { id: 18, name: 'dog' },
  ],
  annotations: Array.from({ length: 2 * count }, (_, i) => ({
    id: 100 + i,
    image_id: i >> 1,
    category_id: i % 2 ? 18 : 1,
    bbox: [1, 2, 10, 4],
    iscrowd: 0,
    segmentation: [[1, 2, 3, 4, 5, 6]],
  })),
});

export const vocOf = (filename: string, objects = ['dog', 'person']): string => `<?xml version="1.0"?>
<!-- an annotation -->
<annotation verified="yes"><folder>VOC</folder><filename>${filename}</filename>
  <size><width>20</width><height>10</height><depth>3</depth></size>
${objects
  .map(
    (name) =>
      `  <object><name>${name}</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>10</xmax><ymax>10</ymax></bndbox></object>`,
  )
  .join('\n')}
</annotation>
`;
