// An object detector as a subject: CenterNet-MobileNetV3, trained on COCO's 80 classes, answers whether an object is there
// by its best box, and describes a picture by what it found. A baseline that cannot read: what it knows no class for, it
// refuses.

import path from 'node:path';
import { fileHash } from '@fovea/artifacts';
import { preprocess } from '@fovea/data';
import { CenterNet, COCO_CLASSES, centerNetPreprocessing } from '@fovea/models';
import type { CompileOptions } from '@fovea/tensor';
import type { Answer } from '../judging/answer.ts';
import { COCO_LEXICON } from '../kinds/coco-lexicon.ts';
import { ObjectMentions } from '../kinds/object-mentions.ts';
import type { Item } from '../suite/item.ts';
import type { Suite } from '../suite/suite.ts';
import { scoresAnswer } from './choosing.ts';
import { captionText } from './probe.ts';
import type { Shown, Subject } from './subject.ts';

export interface DetectorOptions extends Pick<CompileOptions, 'threads' | 'device'> {
  /** A class whose best box scores above this is there, in (0, 1). @default 0.3 */
  threshold?: number;
}

/** Score of a class without any box: below what the network gives to the last of its hundred. */
const NOTHING = 1e-4;
/** Pictures whose boxes are remembered: a suite asks several questions of each. */
const REMEMBERED = 256;

/** The best score of every class that has a box, by class, best first. */
type Seen = ReadonlyMap<string, number>;

/**
 * Opens `centernet.json`, the weights beside it. Yes and no score as log-odds of the class's best box and of the threshold;
 * captions name every class above the threshold, the surest first. Throws where the files are no such detector.
 */
export async function detectorSubject(file: string, options: DetectorOptions = {}): Promise<Subject> {
  const { threshold = 0.3, device = 'cpu', threads } = options;
  const detector = await CenterNet.open(file, { device, threads });
  const weights = await fileHash(path.join(path.dirname(file), 'centernet.bin'));
  const known = new Map<string, Seen>();

  async function seenIn({ key, pixels }: Shown): Promise<Seen> {
    const found = known.get(key);
    if (found) return found;
    const input = await preprocess(pixels, centerNetPreprocessing(pixels), { where: 'a picture of the suite' });
    const seen = new Map<string, number>();
    for (const { label, score } of await detector.detect(input, pixels, { threshold: 0 }))
      if (!seen.has(label)) seen.set(label, score);
    if (known.size >= REMEMBERED) known.delete(known.keys().next().value as string);
    known.set(key, seen);
    return seen;
  }

  return {
    kind: 'detector',
    identity: { network: 'centernet-mobilenetv3', graph: await fileHash(file), weights, threshold, device },
    refuses: refusal,
    async prepare(suite) {
      const why = refusal(suite);
      if (why !== null) throw new Error(why);
    },
    async answer(requests, { signal }) {
      const answers: Answer[] = [];
      for (const { item, pictures } of requests) {
        signal?.throwIfAborted();
        answers.push(answerOf(item, await seenIn(pictures[0]), threshold));
      }
      return answers;
    },
    dispose: () => detector.dispose(),
  };
}

function answerOf(item: Item, seen: Seen, threshold: number): Answer {
  if (item.ask.kind === 'caption') {
    const names = [...seen].filter(([, score]) => score > threshold).map(([label]) => label);
    return { kind: 'text', text: captionText(names), tokens: null, finish: 'stop' };
  }
  const score = seen.get(classOf(item) as string) ?? NOTHING;
  return scoresAnswer([logit(score), logit(threshold)]);
}

const logit = (p: number): number => {
  const inside = Math.min(1 - 1e-6, Math.max(NOTHING, p));
  return Math.log(inside / (1 - inside));
};

let objects: ObjectMentions | null = null;

/** The class that a question asks about, also by another name for it; null where there is none. */
function classOf({ meta }: Item): string | null {
  if (typeof meta.object !== 'string') return null;
  if (COCO_CLASSES.includes(meta.object)) return meta.object;
  objects ??= new ObjectMentions(COCO_LEXICON);
  const [one, ...more] = objects.objects(meta.object);
  return one !== undefined && more.length === 0 ? one : null;
}

function refusal({ manifest: { name, kind }, items }: Suite): string | null {
  if (kind !== 'pope' && kind !== 'chair')
    return `The suite ${name} asks what a detector cannot say; it answers POPE and CHAIR.`;
  const odd = items.find((item) => item.ask.kind !== 'caption' && (item.ask.kind !== 'yesno' || !classOf(item)));
  return odd
    ? `The suite ${name} asks of what the detector has no class for (${odd.meta.object}, item ${odd.id}).`
    : null;
}
