// What parity with transformers (test/parity/preprocess.test.ts) cannot show: pictures and files that are refused.

import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import {
  decodePicture,
  frame,
  normalise,
  type Preprocessing,
  preprocess,
  readPreprocessing,
  squareFraming,
} from './preprocess.ts';

const noise = (width: number, height: number) =>
  sharp({
    create: { width, height, channels: 3, background: '#000', noise: { type: 'gaussian', mean: 128, sigma: 60 } },
  });
const p: Preprocessing = {
  resize: { shortestEdge: 8 },
  resample: 'bicubic',
  crop: { height: 8, width: 8 },
  mean: [0.5, 0.5, 0.5],
  std: [0.5, 0.25, 0.125],
};

describe('decodePicture', () => {
  it('names a picture that is cut short, damaged, empty or no picture', async () => {
    const jpeg = await noise(64, 64).jpeg().toBuffer();
    const damaged = Buffer.from(await noise(64, 64).png().toBuffer());
    damaged.fill(0x55, 200, 2000);
    const text = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>');
    const bad = { cut: jpeg.subarray(0, jpeg.length / 2), damaged, empty: Buffer.alloc(0), text };
    for (const [where, bytes] of Object.entries(bad))
      await expect(decodePicture(bytes, { where }), where).rejects.toThrow(`The picture "${where}" cannot be read: `);
  });

  it('refuses more pixels than allowed before it decodes them', async () => {
    const png = await noise(100, 50).png().toBuffer();
    await expect(decodePicture(png, { where: 'a.png', maxPixels: 4999 })).rejects.toThrow(/"a\.png" cannot be read/);
    expect((await decodePicture(png, { where: 'a.png', maxPixels: 5000 })).width).toBe(100);
  });

  it('brings 16 bits down to 8', async () => {
    const grey = Uint16Array.of(0, 257, 32896, 65535);
    const raw = { width: 2, height: 2, channels: 1 as const };
    const png = await sharp(grey, { raw }).toColourspace('grey16').png().toBuffer();
    expect((await sharp(png).metadata()).depth).toBe('ushort');
    const { data } = await decodePicture(png, { where: 'a.png' });
    expect([0, 3, 6, 9].map((i) => data[i])).toEqual([0, 1, 128, 255]);
  });
});

describe('preprocess', () => {
  it('is frame and then mean and std, channel by channel, and leaves its input alone', async () => {
    const picture = await decodePicture(await noise(20, 12).png().toBuffer(), { where: 'a.png' });
    const before = picture.data.slice();
    const framed = frame(picture, p);
    const out = await preprocess(picture, p, { where: 'a.png' });
    for (const i of [0, 63, 64, 130, 191]) {
      const c = Math.floor(i / 64);
      expect(out[i]).toBeCloseTo((framed[i] - p.mean[c]) / p.std[c], 5);
    }
    expect(picture.data).toEqual(before);
    const two = normalise(Float32Array.of(...framed, ...framed), p, 64);
    expect(two.subarray(192)).toEqual(out);
  });

  it('refuses a picture so long that its resize would not fit', () => {
    const picture = { width: 1_000_000, height: 1, data: new Uint8Array(3_000_000) };
    expect(() => frame(picture, p)).toThrow(/1000000 × 1 pixels is too long/);
  });
});

describe('squareFraming', () => {
  const files: Record<string, [object, number]> = {
    CLIP: [{ image_processor_type: 'CLIPImageProcessor' }, 224],
    SigLIP: [{ image_processor_type: 'SiglipImageProcessor', size: { height: 24, width: 24 } }, 24],
    DINOv2: [{ image_processor_type: 'BitImageProcessor', size: { shortest_edge: 256 }, crop_size: 224 }, 224],
    ConvNeXt: [{ pretrained_cfg: { input_size: [3, 288, 288], crop_pct: 0.95, interpolation: 'bilinear' } }, 288],
    'open_clip squashed': [
      { model_cfg: { vision_cfg: { image_size: 40 } }, preprocess_cfg: { resize_mode: 'squash' } },
      40,
    ],
    'a squash and then a crop': [
      { image_processor_type: 'BitImageProcessor', size: { height: 48, width: 56 }, crop_size: 40 },
      40,
    ],
  };

  it.each(Object.entries(files))('of %s changes nothing at its own side', async (_name, [json, side]) => {
    const rule = readPreprocessing(json, 'p.json');
    for (const [width, height] of [
      [301, 200],
      [90, 131],
    ]) {
      const picture = await decodePicture(await noise(width, height).png().toBuffer(), { where: 'a.png' });
      const framed = frame(picture, squareFraming(side, rule));
      expect(framed).toHaveLength(3 * side * side);
      expect(Buffer.compare(Buffer.from(framed.buffer), Buffer.from(frame(picture, rule).buffer))).toBe(0);
    }
  });

  it('keeps the proportion of resize and crop at another side', () => {
    const at = (name: string, side: number) => squareFraming(side, readPreprocessing(files[name][0], 'p.json'));
    expect(at('DINOv2', 448)).toMatchObject({ resize: { shortestEdge: 512 }, crop: { height: 448, width: 448 } });
    expect(at('DINOv2', 48)).toMatchObject({ resize: { shortestEdge: 55 }, crop: { height: 48, width: 48 } });
    expect(at('CLIP', 512)).toMatchObject({ resize: { shortestEdge: 512 }, crop: { height: 512, width: 512 } });
    expect(at('SigLIP', 64)).toMatchObject({ resize: { height: 64, width: 64 }, crop: null });
    expect(at('ConvNeXt', 576)).toMatchObject({ resize: { shortestEdge: 606 }, resample: 'bilinear' });
    expect(at('a squash and then a crop', 20).resize).toEqual({ height: 24, width: 28 });
    expect(squareFraming(16, { ...p, crop: null }).crop).toEqual({ height: 16, width: 16 });
  });

  it('refuses a rule that gives no squares of that side', () => {
    const still = { ...p, resize: null };
    expect(squareFraming(8, still).resize).toBeNull();
    expect(() => squareFraming(16, still)).toThrow(/^Pictures cannot be framed to 16 × 16.*resizes nothing; let it/);
    expect(() => squareFraming(8, { ...still, crop: null })).toThrow(/resizes nothing/);
    expect(() => squareFraming(8, { ...p, crop: { height: 8, width: 9 } })).toThrow(/no square; mend its crop_size/);
  });
});

describe('readPreprocessing', () => {
  it('reads files of old versions, with sizes as bare numbers', () => {
    const old = { feature_extractor_type: 'CLIPFeatureExtractor', size: 336, crop_size: 336, resample: 3 };
    expect(readPreprocessing(old, 'a')).toMatchObject({
      resize: { shortestEdge: 336 },
      crop: { height: 336, width: 336 },
      resample: 'bicubic',
      mean: [0.48145466, 0.4578275, 0.40821073],
    });
    const siglip = { image_processor_type: 'SiglipImageProcessorFast', size: 256, resample: 2 };
    expect(readPreprocessing({ image_processor: siglip }, 'a')).toMatchObject({
      resize: { height: 256, width: 256 },
      crop: null,
      resample: 'bilinear',
      std: [0.5, 0.5, 0.5],
    });
  });

  it('says which field it cannot do', () => {
    const clip = { image_processor_type: 'CLIPImageProcessor' };
    const cases: [object, RegExp][] = [
      [{ image_processor_type: 'DetrImageProcessor' }, /image_processor_type.*CLIP, SigLIP or BiT/],
      [{}, /no image_processor_type/],
      [{ ...clip, size: { shortest_edge: 800, longest_edge: 1333 } }, /size.*longest_edge/],
      [{ ...clip, rescale_factor: 1 }, /rescale_factor.*1\/255/],
      [{ ...clip, resample: 5 }, /resample.*bicubic \(3\)/],
      [{ ...clip, image_std: [1, 1, 0] }, /image_std/],
      [{ model_cfg: { vision_cfg: {} }, preprocess_cfg: { resize_mode: 'longest' } }, /preprocess_cfg\.resize_mode/],
    ];
    for (const [json, wanted] of cases) expect(() => readPreprocessing(json, 'p.json')).toThrow(wanted);
    expect(() => readPreprocessing([], 'p.json')).toThrow(/^The preprocessing p\.json cannot be used/);
  });
});
