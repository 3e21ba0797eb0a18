// RobustVQA's questions about one icon: is it this, asked once of the right name and once of a wrong one. A are hard
// scenes that the independent encoder gets wrong, R unseen renditions, V2 fresh re-draws; wrong names are its likeliest.

import { drawScene, type EmojiWorld, type Scene } from '@fovea/data';
import { philox } from '@fovea/tensor/random';
import type { ImageTextEncoder } from '../image-text-encoder.ts';
import { hardestWrong, namesOf } from '../scoring.ts';
import type { Draft } from '../suite/draft.ts';
import { sceneRef } from './scene.ts';
import { sceneFeatures } from './scene-features.ts';
import { BARE, classRows, count, lots, needsClasses, sourceOf, type TwinItem, type TwinOptions } from './twin.ts';

const RENDITIONS = 300;
const HARD = 300;

interface Asked {
  scene: Scene;
  gold: number;
  split: string;
}

export async function emojiRobustvqa(world: EmojiWorld, options: TwinOptions = {}): Promise<Draft> {
  needsClasses(world, 2, 'RobustVQA');
  const { trainStyles, redrawStyles, heldOutStyles } = world.config;
  const omitted: Draft['omitted'] = [];
  const drawn: Asked[] = [
    ...drawSplit(world, options, 'A-unfiltered', trainStyles, HARD, true),
    ...drawSplit(world, options, 'R', heldOutStyles, RENDITIONS),
    ...drawSplit(world, options, 'V2', redrawStyles, RENDITIONS),
  ];
  for (const [split, styles] of [
    ['R', heldOutStyles],
    ['V2', redrawStyles],
  ] as const)
    if (styles.length === 0) omitted.push({ what: split, reason: 'the world names no styles for it' });
  const items: TwinItem[] = [];
  const foil = options.foil ?? null;
  if (foil === null) {
    omitted.push({ what: 'A', reason: 'no independent encoder was given to choose its pictures' });
    drawn.forEach((asked, i) => {
      items.push(...questions(world, asked, i, randomWrong(world, options, asked.gold, i), 'seeded-random'));
    });
  } else {
    const { wrong, isWrong } = await choose(world, foil.encoder, drawn, options);
    drawn.forEach((asked, i) => {
      // The unfiltered twin is asked with names that no model chose.
      const isHard = asked.split === 'A-unfiltered';
      const random = randomWrong(world, options, asked.gold, i);
      items.push(
        ...questions(world, asked, i, isHard ? random : wrong[i], isHard ? 'seeded-random' : 'independent-encoder'),
      );
      if (isHard && isWrong[i])
        items.push(...questions(world, { ...asked, split: 'A' }, i, wrong[i], 'independent-encoder'));
    });
    if (!items.some(({ split }) => split === 'A'))
      omitted.push({ what: 'A', reason: 'the independent encoder got every hard picture right' });
  }
  return {
    name: 'emoji-robustvqa',
    kind: 'robustvqa',
    title: 'RobustVQA on drawn icons: hard scenes, unseen renditions, re-draws',
    source: sourceOf(world, 'robustvqa', options),
    prompt: BARE,
    omitted,
    notes: [
      'A holds the hard pictures that the independent encoder gets wrong; A-unfiltered all of them, with wrong names drawn from the seed.',
    ],
    items,
    probes: classRows(world, options),
  };
}

function drawSplit(
  world: EmojiWorld,
  options: TwinOptions,
  split: string,
  styles: readonly string[],
  full: number,
  hard = false,
): Asked[] {
  if (styles.length === 0) return [];
  const { classes } = world;
  return Array.from({ length: count(full, options) }, (_, i) => {
    const gold = i % classes.length;
    const rng = lots(options, `robustvqa-${split}`, 'item', i);
    return { scene: drawScene(rng, { ...world.sceneOptions(styles), concepts: { only: gold }, hard }), gold, split };
  });
}

function randomWrong({ classes }: EmojiWorld, { seed = 0 }: TwinOptions, gold: number, i: number): number {
  return (gold + 1 + philox(seed, 'twin/robustvqa/wrong', 0, i).int(classes.length - 1)) % classes.length;
}

/** Yes of the right name, no of the wrong one. */
function questions(
  { classes, sheet }: EmojiWorld,
  { scene, gold, split }: Asked,
  i: number,
  wrong: number,
  foil: string,
): TwinItem[] {
  const id = `${split}/${i}`;
  const claim = (concept: number) => ({ target: `has/${classes[concept]}`, value: 1 });
  return [true, false].map((isRight): TwinItem => {
    const [asked, other] = isRight ? [gold, wrong] : [wrong, gold];
    return {
      id: `${id}/${isRight ? 'yes' : 'no'}`,
      split,
      cluster: classes[gold],
      pair: id,
      pictures: [sceneRef(scene)],
      ask: {
        kind: 'yesno',
        question: `Is ${classes[asked]} the main object in this image?`,
        gold: isRight ? 'yes' : 'no',
        texts: [classes[asked], classes[other]],
        claims: [claim(asked), claim(other)],
      },
      meta: { object: classes[asked], style: sheet.styles[scene.style], foil },
    };
  });
}

/** The foil encoder's likeliest wrong class of each picture, and whether it takes it for the right one. */
async function choose(world: EmojiWorld, encoder: ImageTextEncoder, drawn: readonly Asked[], run: TwinOptions) {
  const names = await namesOf(encoder, world.classes);
  const scenes = drawn.map(({ scene }) => scene);
  const features = await sceneFeatures(world, encoder, scenes, 'choosing wrong names', run);
  const gold = drawn.map((asked) => asked.gold);
  const { wrong, margin } = hardestWrong(features, names, encoder.dim, gold);
  if (margin.some(Number.isNaN)) throw new Error('The foil encoder gives features that are not finite.');
  return { wrong, isWrong: Array.from(margin, (m) => !(m > 0)) };
}
