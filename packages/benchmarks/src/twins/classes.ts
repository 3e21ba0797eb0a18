// Suites that ask which class one icon is of: retention on new scenes, the same scenes corrupted, and icons whose shape
// and texture disagree.

import { drawComposition, drawScene, type EmojiWorld, type Scene } from '@fovea/data';
import { buildCorruptions } from '../kinds/build-corruptions.ts';
import type { Draft } from '../suite/draft.ts';
import { sceneRef } from './scene.ts';
import { BARE, classRows, count, lots, needsClasses, sourceOf, type TwinItem, type TwinOptions } from './twin.ts';

const DRAWS = 5;
const CORRUPTED = 24;
const CONFLICTS = 432;

const trained = (world: EmojiWorld, options: TwinOptions, suite: string, i: number, concept: number): Scene =>
  drawScene(lots(options, suite, 'item', i), {
    ...world.sceneOptions(world.config.trainStyles),
    concepts: { only: concept },
  });

/** Zero-shot classification of new scenes of trained styles: retention. */
export async function emojiClassify(world: EmojiWorld, options: TwinOptions = {}): Promise<Draft> {
  needsClasses(world, 2, 'classification');
  const { classes } = world;
  const items = Array.from({ length: count(DRAWS * classes.length, options) }, (_, i): TwinItem => {
    const gold = i % classes.length;
    const scene = trained(world, options, 'classify', i, gold);
    return {
      id: `classify/${i}`,
      split: 'id',
      cluster: classes[gold],
      pictures: [sceneRef(scene)],
      ask: { kind: 'classify', gold },
      meta: { style: world.sheet.styles[scene.style], class: classes[gold] },
    };
  });
  return {
    ...base(world, options, 'classify', 'Zero-shot classification of new scenes of trained styles'),
    kind: 'classify',
    items,
  };
}

/** A few of such scenes under every corruption and severity: each cell asks about the same pictures. */
export async function emojiCorruptions(world: EmojiWorld, options: TwinOptions = {}): Promise<Draft> {
  needsClasses(world, 2, 'corruptions');
  const { classes } = world;
  const items = Array.from({ length: count(CORRUPTED, options) }, (_, i): TwinItem => {
    const gold = lots(options, 'corrupted-class', 'item', i).int(classes.length);
    return {
      id: `picture-${i}`,
      split: 'clean',
      cluster: `picture-${i}`,
      pictures: [sceneRef(trained(world, options, 'corruptions', i, gold))],
      ask: { kind: 'classify', gold },
      meta: { class: classes[gold] },
    };
  });
  const clean = base(world, options, 'corruptions', 'Zero-shot classification of scenes of trained styles');
  const { probes } = clean;
  const draft = await buildCorruptions(
    { ...clean, kind: 'classify', items },
    { name: clean.name, seed: options.seed ?? 0, square: null },
  );
  const side = `Severities are in pixels and the pictures have ${world.imageSize} a side, not 224: they act more strongly here.`;
  return { ...draft, notes: [...draft.notes, side], probes };
}

/** The outline and shading of one concept, the colours and texture of another. */
export async function emojiCueConflict(world: EmojiWorld, options: TwinOptions = {}): Promise<Draft> {
  needsClasses(world, 2, 'cue conflict');
  const { classes } = world;
  const { styles, rotation } = world.sceneOptions(world.config.trainStyles);
  const items = Array.from({ length: count(CONFLICTS, options) }, (_, i): TwinItem => {
    const rng = lots(options, 'cue-conflict', 'item', i);
    const gold = i % classes.length;
    const other = (gold + 1 + rng.int(classes.length - 1)) % classes.length;
    const style = styles[rng.int(styles.length)];
    const look = { style, concept: gold, texture: { style, concept: other } };
    return {
      id: `cue-conflict/${i}`,
      split: 'all',
      cluster: classes[gold],
      pictures: [sceneRef(drawComposition(rng, [look], { rotation }))],
      ask: { kind: 'classify', gold, other },
      meta: { shape: classes[gold], texture: classes[other] },
    };
  });
  const draft = base(world, options, 'cue-conflict', 'Shape against texture in drawn icons');
  const note =
    'An icon keeps its outline and 60 % of its shading and is filled with the middle of another icon: not the style transfer of Geirhos et al. 2019, so shape bias compares only with other runs of this suite.';
  return { ...draft, kind: 'cue-conflict', notes: [...draft.notes, note], items };
}

function base(world: EmojiWorld, options: TwinOptions, name: string, title: string) {
  return {
    name: `emoji-${name}`,
    title,
    source: sourceOf(world, name, options),
    prompt: BARE,
    classes: [...world.classes],
    omitted: [],
    notes: [] as string[],
    probes: classRows(world, options),
  };
}
