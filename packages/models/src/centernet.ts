// CenterNet (Zhou et al. 2019, "Objects as Points") on MobileNetV3, trained on COCO: where what stands in a picture, in
// one pass and without non-maximum suppression, since each object is one peak of its class's map. The network is a
// TF.js graph model that infra/weights fetches; it decodes its own peaks, so its output is the 100 best boxes.

import { type CompileOptions, compile, GraphModel, type Program, type Tensor, TensorError, tf } from '@fovea/tensor';
import type { Preprocessing } from './encoder.ts';

const SIDE = 512;
const MOST = 100;
/** Of one row: x₁, y₁, x₂, y₂, score, class. */
const FIELDS = 6;

/** In the order of COCO's ids, which leave some out. */
export const COCO_CLASSES: readonly string[] = `
person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,bench,
bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,
sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,
bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,
toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,
teddy bear,hair drier,toothbrush`
  .replaceAll('\n', '')
  .split(',');

interface Size {
  height: number;
  width: number;
}

/** The picture's sides once its longer one has 512 pixels. */
function fittedSize({ height, width }: Size): Size {
  const scale = SIDE / Math.max(height, width);
  const fit = (side: number) => Math.max(1, Math.round(side * scale));
  return { height: fit(height), width: fit(width) };
}

/** RGB in 8-bit levels, 0 to 255, whole and in the middle of 512 × 512 black pixels, as its authors' detector has it. */
export const centerNetPreprocessing = (picture: Size): Preprocessing => ({
  resize: fittedSize(picture),
  resample: 'bilinear',
  crop: { height: SIDE, width: SIDE },
  mean: [0, 0, 0],
  std: [1 / 255, 1 / 255, 1 / 255],
});

/** pixels [1, 3, 512, 512] by {@link centerNetPreprocessing} -> the best boxes, best first: [1, 100, 6] of x₁, y₁, x₂, y₂, score, class. */
export function centerNet(model: GraphModel, pixels: Tensor): Tensor {
  const images = tf.transpose(pixels, [0, 2, 3, 1]);
  return model.run({ 'tower_0/images': images }, ['tower_0/detections'])['tower_0/detections'];
}

export interface Detection {
  /** x₁, y₁, x₂, y₂ in the picture's pixels, inside it. */
  box: [number, number, number, number];
  /** One of {@link COCO_CLASSES}. */
  label: string;
  /** In (0, 1). */
  score: number;
}

export interface DetectOptions {
  /** The lowest score. @default 0.3 */
  threshold?: number;
  /** The largest number of boxes, up to 100. @default 100 */
  most?: number;
}

/** Rows [100, 6] of {@link centerNet} as boxes in a picture of these sides, best first. */
export function centerNetDetections(rows: ArrayLike<number>, picture: Size, options: DetectOptions = {}): Detection[] {
  const { threshold = 0.3, most = MOST } = options;
  const fitted = fittedSize(picture);
  const along = (side: 'width' | 'height') => {
    const border = Math.floor((SIDE - fitted[side]) / 2);
    const scale = picture[side] / fitted[side];
    return (at: number) => Math.min(picture[side], Math.max(0, (at - border) * scale));
  };
  const [x, y] = [along('width'), along('height')];
  const found: Detection[] = [];
  for (let i = 0; i < rows.length && found.length < most; i += FIELDS) {
    const [x1, y1, x2, y2, score, label] = Array.from({ length: FIELDS }, (_, field) => rows[i + field]);
    const box: Detection['box'] = [x(x1), y(y1), x(x2), y(y2)];
    const isInside = box[0] < box[2] && box[1] < box[3];
    if (score >= threshold && isInside) found.push({ box, label: COCO_CLASSES[label], score });
  }
  return found;
}

/** The detector, compiled. Open it once, detect in any number of pictures, dispose of it. */
export class CenterNet {
  readonly #program: Program;

  private constructor(program: Program) {
    this.#program = program;
  }

  /** Opens `centernet.json`, the weights beside it. A {@link TensorError} where they are no such detector. */
  static async open(file: string, options: CompileOptions = {}): Promise<CenterNet> {
    const model = await GraphModel.open(file);
    const inputs = { pixels: { shape: [1, 3, SIDE, SIDE], dtype: 'float32' as const } };
    const step = ({ pixels }: Record<string, Tensor>) => {
      const rows = centerNet(model, pixels);
      if (rows.shape.join() !== [1, MOST, FIELDS].join())
        throw new TensorError(
          `The graph model "${file}" gives [${rows.shape}], not [1, ${MOST}, ${FIELDS}]; give CenterNet's.`,
        );
      return { outputs: { rows } };
    };
    return new CenterNet(await compile(step, { inputs }, options));
  }

  /** pixels [3, 512, 512] by {@link centerNetPreprocessing} of a picture with these sides -> what is in it, best first. */
  async detect(pixels: Float32Array, picture: Size, options: DetectOptions = {}): Promise<Detection[]> {
    const { rows } = await this.#program.run({ pixels });
    return centerNetDetections(rows, picture, options);
  }

  dispose(): Promise<void> {
    return this.#program.dispose();
  }
}
