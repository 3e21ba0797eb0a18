// The questions over the emoji world: retention on new scenes of trained styles, RobustVQA in CLIP form on hard scenes
// (A), unseen renditions (R) and fresh re-draws (V2), and the factors that probes read. Every scene is a function of
// (eval seed, split, style, concept, draw), and no model under test has a say in any question.

import { drawScene, type EmojiWorld, factorsOf, renderScene, type Scene } from '@fovea/data';
import { philox } from '@fovea/tensor/random';
import { assignFoils, type FoilSource, openFoils } from './foils.ts';
import type { EvalPlan, Item, Omission, PlanOptions, Split } from './plan.ts';
import { MIN_CLUSTERS, type ProbeTarget } from './probes.ts';
import { MIN_ITEMS } from './scorecard.ts';

/** Items that split A should hold; candidates are drawn until it does. */
export const ADVERSARIAL_ITEMS = 400;
/** Hard scenes that are drawn at most, however good the foil encoder is. */
export const MAX_CANDIDATES = 6000;

/** What is drawn so far; `scenes[i]` is the picture of `items[i]`. */
interface Questions {
  items: Item[];
  scenes: Scene[];
  foils: number[];
  splits: Split[];
}

/** Questions over an emoji world, with wrong names from the foil encoder or, without one, from the seed. */
export async function emojiPlan(world: EmojiWorld, options: PlanOptions): Promise<EvalPlan> {
  const { trainStyles, redrawStyles, heldOutStyles, imageSize, scale, rotation } = world.config;
  const { suites } = options;
  const questions: Questions = { items: [], scenes: [], foils: [], splits: [] };
  const omitted: Omission[] = [];
  if (suites.includes('retention') || suites.includes('probes')) {
    const rows = drawSplit(questions, world, options, 'id', trainStyles);
    if (suites.includes('retention')) questions.splits.push({ suite: 'retention', split: 'id', rows });
  }
  if (suites.includes('robustvqa')) {
    drawStyles(questions, world, options, 'V2', redrawStyles, omitted);
    drawStyles(questions, world, options, 'R', heldOutStyles, omitted);
  }
  const pictures = picturesOf(world, questions.scenes);
  const source = await openFoils(options, world.classes);
  const { foils } = await assignFoils(source, pictures, questions.items, 0, options);
  questions.foils.push(...foils);
  if (suites.includes('robustvqa')) await drawAdversarial(questions, world, source, options, omitted);
  const probe = suites.includes('probes') ? sceneProbe(questions, omitted) : null;
  return {
    source: { kind: world.kind, imageSize, trainStyles, scale, rotation, seed: options.eval.seed },
    ...pictures,
    items: questions.items,
    foils: Int32Array.from(questions.foils),
    foilKind: options.foil === null ? 'seeded-random' : 'independent-encoder',
    splits: questions.splits,
    probe,
    omitted,
  };
}

function picturesOf(world: EmojiWorld, scenes: Scene[]): Pick<EvalPlan, 'classes' | 'imageSize' | 'render'> {
  const { classes, imageSize, sheet } = world;
  const size = 3 * imageSize ** 2;
  return {
    classes,
    imageSize,
    async render(first, count, out) {
      for (let i = 0; i < count; i++) renderScene(sheet, scenes[first + i], imageSize, out, i * size);
    },
  };
}

/** Draws `rendersPerConcept` scenes of every concept in every style, or as many as the least split size asks for. */
function drawSplit(
  questions: Questions,
  world: EmojiWorld,
  options: PlanOptions,
  split: string,
  styles: readonly string[],
): Int32Array {
  const { classes } = world;
  const draws = Math.max(options.eval.rendersPerConcept, Math.ceil(MIN_ITEMS / (classes.length * styles.length)));
  const first = questions.items.length;
  for (const style of styles) {
    for (let concept = 0; concept < classes.length; concept++) {
      for (let draw = 0; draw < draws; draw++) {
        const rng = philox(options.eval.seed, `eval/${split}/${style}`, draw, concept);
        questions.scenes.push(drawScene(rng, { ...world.sceneOptions([style]), concepts: { only: concept } }));
        const name = classes[concept];
        questions.items.push({ id: `${split}/${style}/${name}/${draw}`, clusterId: name, gold: concept });
      }
    }
  }
  return Int32Array.from({ length: questions.items.length - first }, (_, i) => first + i);
}

/** One split per style; the re-draws also together, since that split carries the primary comparison. */
function drawStyles(
  questions: Questions,
  world: EmojiWorld,
  options: PlanOptions,
  split: 'V2' | 'R',
  styles: readonly string[],
  omitted: Omission[],
): void {
  if (styles.length === 0) {
    omitted.push({ suite: 'robustvqa', split, reason: 'the recipe names no styles for it' });
    return;
  }
  const parts = styles.map((style): Split => {
    const rows = drawSplit(questions, world, options, split, [style]);
    return { suite: 'robustvqa', split: `${split}/${style}`, rows };
  });
  if (split === 'V2') {
    const rows = Int32Array.from(parts.flatMap((part) => Array.from(part.rows)));
    questions.splits.push({ suite: 'robustvqa', split, rows });
  }
  questions.splits.push(...parts);
}

/**
 * Hard scenes of trained styles, one per concept and block, until the foil encoder has got enough of them wrong: those
 * are A, all of them are its unfiltered twin. The foil encoder alone decides; nothing else is looked at.
 */
async function drawAdversarial(
  questions: Questions,
  world: EmojiWorld,
  source: FoilSource | null,
  options: PlanOptions,
  omitted: Omission[],
): Promise<void> {
  const { classes } = world;
  const pictures = picturesOf(world, questions.scenes);
  const drawing = { ...world.sceneOptions(world.config.trainStyles), hard: true };
  const start = questions.items.length;
  const adversarial: number[] = [];
  const enough = () =>
    questions.items.length - start >= MIN_ITEMS && (source === null || adversarial.length >= ADVERSARIAL_ITEMS);
  for (let block = 0; !enough() && questions.items.length - start < MAX_CANDIDATES; ) {
    const first = questions.items.length;
    // A few blocks at once, so that the foil encoder gets full chunks of small worlds too.
    for (const end = block + Math.ceil(256 / classes.length); block < end; block++) {
      for (let concept = 0; concept < classes.length; concept++) {
        const rng = philox(options.eval.seed, 'eval/hard', block, concept);
        questions.scenes.push(drawScene(rng, { ...drawing, concepts: { only: concept } }));
        questions.items.push({ id: `A/${classes[concept]}/${block}`, clusterId: classes[concept], gold: concept });
      }
    }
    const found = await assignFoils(source, pictures, questions.items.slice(first), first, options);
    questions.foils.push(...found.foils);
    adversarial.push(...found.wrong.map((at) => first + at));
  }
  const all = Int32Array.from({ length: questions.items.length - start }, (_, i) => start + i);
  if (source === null) {
    omitted.push({ suite: 'robustvqa', split: 'A', reason: 'no independent encoder was given to choose its items' });
  } else if (adversarial.length === 0) {
    omitted.push({
      suite: 'robustvqa',
      split: 'A',
      reason: `the independent encoder got all of ${all.length} hard scenes right`,
    });
  } else {
    questions.splits.push({ suite: 'robustvqa', split: 'A', rows: Int32Array.from(adversarial) });
  }
  questions.splits.push({ suite: 'robustvqa', split: 'A-unfiltered', rows: all });
}

/** Background colour, scale, place and rotation of the in-distribution scenes. */
function sceneProbe(questions: Questions, omitted: Omission[]): EvalPlan['probe'] {
  const rows = Int32Array.from(questions.items.flatMap((item, i) => (item.id.startsWith('id/') ? [i] : [])));
  if (new Set(Array.from(rows, (row) => questions.items[row].clusterId)).size < MIN_CLUSTERS) {
    omitted.push({ suite: 'probes', split: 'id', reason: `fewer than ${MIN_CLUSTERS} concepts` });
    return null;
  }
  const factors = Array.from(rows, (row) => factorsOf(questions.scenes[row]));
  const scalar = (name: 'scale' | 'x' | 'y' | 'rotation'): ProbeTarget => ({
    name,
    columns: 1,
    values: Float64Array.from(factors, (f) => f[name]),
  });
  const background = {
    name: 'background',
    columns: 3,
    values: Float64Array.from(factors.flatMap((f) => f.background)),
  };
  return { rows, targets: [background, scalar('scale'), scalar('x'), scalar('y'), scalar('rotation')] };
}
