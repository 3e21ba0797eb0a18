// Nine visual patterns after MMVP's, each as two pictures that differ in one thing: the same lots, one factor changed.
// Some patterns of photographs have no equal among icons; what stands in for them is said in each pattern's note.

import {
  type Composition,
  drawComposition,
  drawGround,
  type EmojiWorld,
  type IconLook,
  LETTERS,
  type Rgb,
} from '@fovea/data';
import type { Rng } from '@fovea/tensor/random';
import type { Claim } from '../suite/item.ts';

/** One of the two pictures: what is seen in it, in words, and as a claim about its features. */
export interface Side {
  scene: Composition;
  /** A statement that is true of this picture and false of the other. */
  statement: string;
  /** The short answer to the pair's question. */
  answer: string;
  claim: Claim;
  /** Values of the pattern's own targets; others stand at their middle. */
  targets: Record<string, number>;
}

export interface PatternPair {
  question: string;
  /** The thing that is shown. */
  concept: string;
  sides: [Side, Side];
}

export interface Pattern {
  name: string;
  /** MMVP's name of it. */
  title: string;
  /** What stands in for it here. */
  note: string;
  /** Whether there are icons that the change leaves as they are: their own mirror image, grey, one flat shape. */
  mayVanish?: boolean;
  draw(world: EmojiWorld, rng: Rng): PatternPair;
}

/** All targets with the value that a picture has where its pattern asks for something else. */
export const NEUTRAL: Readonly<Record<string, number>> = {
  mirrored: 0,
  companion: 0,
  faded: 0,
  count: 2,
  left: 0,
  red: 0,
  solid: 0,
  leaning: 0,
  ...Object.fromEntries(LETTERS.map((letter) => [`letter/${letter}`, 0])),
};

const RED: Rgb = [0.95, 0.2, 0.15];
const BLUE: Rgb = [0.15, 0.35, 0.95];
const INK: Rgb = [0.05, 0.05, 0.05];
const ALONE = { scale: [0.6, 0.8], rotation: 10 } as const;
/** Degrees of a leaning icon either way. */
const LEAN: [number, number] = [25, 45];

function lookOf(world: EmojiWorld, rng: Rng): { look: IconLook; name: string } {
  const { styles } = world.sceneOptions(world.config.trainStyles);
  // The first concept is kept for the companion.
  const concept = 1 + rng.int(world.classes.length - 1);
  return { look: { style: styles[rng.int(styles.length)], concept }, name: world.classes[concept] };
}

/** Two values of one target, ±1, told by two words. */
function pair(
  target: string,
  concept: string,
  question: string,
  sides: readonly [
    { answer: string; statement: string; scene: Composition },
    { answer: string; statement: string; scene: Composition },
  ],
): PatternPair {
  const side = (at: 0 | 1): Side => {
    const value = at === 0 ? 1 : -1;
    return { ...sides[at], claim: { target, value }, targets: { [target]: value } };
  };
  return { question, concept, sides: [side(0), side(1)] };
}

/** One icon drawn twice with another look. */
function looks(
  target: string,
  question: (name: string) => string,
  words: (name: string) => readonly [[string, string], [string, string]],
  change: (look: IconLook) => readonly [IconLook, IconLook],
): Pattern['draw'] {
  return (world, rng) => {
    const { look, name } = lookOf(world, rng);
    const scene = drawComposition(rng, [look], ALONE);
    const [first, second] = change(look);
    const [one, two] = words(name);
    const painted = (changed: IconLook): Composition => ({ ...scene, icons: [{ ...scene.icons[0], ...changed }] });
    return pair(target, name, question(name), [
      { answer: one[0], statement: one[1], scene: painted(first) },
      { answer: two[0], statement: two[1], scene: painted(second) },
    ]);
  };
}

const orientation = looks(
  'mirrored',
  (name) => `Is the ${name} mirrored or as usual?`,
  (name) => [
    ['Mirrored', `a mirrored ${name}`],
    ['As usual', `a ${name} as usual`],
  ],
  (look) => [{ ...look, mirrored: true }, look],
);

const state = looks(
  'faded',
  (name) => `Is the ${name} faded or bright?`,
  (name) => [
    ['Faded', `a faded grey ${name}`],
    ['Bright', `a ${name} in bright colours`],
  ],
  (look) => [
    { ...look, hue: { angle: 0, saturation: 0.1 } },
    { ...look, hue: { angle: 0, saturation: 1.3 } },
  ],
);

const colour = looks(
  'red',
  (name) => `What colour is the ${name}?`,
  (name) => [
    ['Red', `a red ${name}`],
    ['Blue', `a blue ${name}`],
  ],
  (look) => [
    { ...look, tint: { colour: RED } },
    { ...look, tint: { colour: BLUE } },
  ],
);

const structure = looks(
  'solid',
  (name) => `Is the ${name} a plain shape or drawn in detail?`,
  (name) => [
    ['A plain shape', `the plain silhouette of a ${name}`],
    ['Drawn in detail', `a ${name} drawn in detail`],
  ],
  (look) => [{ ...look, tint: { colour: INK, solid: true } }, look],
);

function viewpoint(world: EmojiWorld, rng: Rng): PatternPair {
  const { look, name } = lookOf(world, rng);
  const scene = drawComposition(rng, [look], { ...ALONE, rotation: 0 });
  const lean = rng.between(...LEAN);
  const turned = (rotation: number): Composition => ({ ...scene, icons: [{ ...scene.icons[0], rotation }] });
  return pair('leaning', name, `Does the ${name} lean to the right or to the left?`, [
    { answer: 'To the right', statement: `a ${name} leaning to the right`, scene: turned(lean) },
    { answer: 'To the left', statement: `a ${name} leaning to the left`, scene: turned(-lean) },
  ]);
}

/** A second, smaller icon beside the first one; always of the world's first concept. */
function withCompanion(
  world: EmojiWorld,
  rng: Rng,
): { alone: Composition; left: Composition; right: Composition; name: string } {
  const { look, name } = lookOf(world, rng);
  const background = drawGround(rng);
  const [side, y] = [rng.between(0.42, 0.5), rng.between(0.4, 0.6)];
  const [small, level] = [rng.between(0.34, 0.4), rng.between(0.35, 0.65)];
  const [near, far] = [rng.between(0.24, 0.28), rng.between(0.74, 0.78)];
  const main = (x: number) => ({ ...look, scale: side, x, y, rotation: 0 });
  const other = (x: number) => ({ style: look.style, concept: 0, scale: small, x, y: level, rotation: 0 });
  return {
    alone: { background, icons: [main(near)] },
    left: { background, icons: [main(far), other(near)] },
    right: { background, icons: [main(near), other(far)] },
    name,
  };
}

function presence(world: EmojiWorld, rng: Rng): PatternPair {
  const { alone, right, name } = withCompanion(world, rng);
  const [companion] = world.classes;
  return pair('companion', name, `Is there a ${companion} beside the ${name}?`, [
    { answer: 'Yes', statement: `a ${name} with a ${companion}`, scene: right },
    { answer: 'No', statement: `a ${name} alone`, scene: alone },
  ]);
}

function position(world: EmojiWorld, rng: Rng): PatternPair {
  const { left, right, name } = withCompanion(world, rng);
  const [companion] = world.classes;
  return pair('left', name, `Is the ${companion} on the left or on the right of the ${name}?`, [
    { answer: 'On the left', statement: `a ${companion} on the left of a ${name}`, scene: left },
    { answer: 'On the right', statement: `a ${companion} on the right of a ${name}`, scene: right },
  ]);
}

const NUMBERS = ['one', 'two', 'three', 'four'];

function quantity(world: EmojiWorld, rng: Rng): PatternPair {
  const { look, name } = lookOf(world, rng);
  const fewer = 1 + rng.int(NUMBERS.length - 1);
  const scene = drawComposition(rng, Array(fewer + 1).fill(look), { scale: [0.32, 0.4] });
  const side = (number: number): Side => ({
    scene: { ...scene, icons: scene.icons.slice(0, number) },
    statement: `${NUMBERS[number - 1]} ${name}`,
    answer: NUMBERS[number - 1],
    claim: { target: 'count', value: number },
    targets: { count: number },
  });
  return { question: `How many times is the ${name} shown?`, concept: name, sides: [side(fewer), side(fewer + 1)] };
}

function text(world: EmojiWorld, rng: Rng): PatternPair {
  const { look, name } = lookOf(world, rng);
  const scene = drawComposition(rng, [look], { scale: [0.45, 0.55] });
  const first = rng.int(LETTERS.length);
  const second = (first + 1 + rng.int(LETTERS.length - 1)) % LETTERS.length;
  const [icon] = scene.icons;
  const at = { x: icon.x < 0.5 ? 0.8 : 0.2, y: rng.between(0.25, 0.75), height: rng.between(0.38, 0.46), colour: INK };
  const side = (letter: string): Side => ({
    scene: { ...scene, letter: { text: letter, ...at } },
    statement: `a ${name} with the letter ${letter}`,
    answer: letter,
    claim: { target: `letter/${letter}`, value: 1 },
    targets: { [`letter/${letter}`]: 1 },
  });
  return {
    question: 'Which letter is written in the picture?',
    concept: name,
    sides: [side(LETTERS[first]), side(LETTERS[second])],
  };
}

export const PATTERNS: readonly Pattern[] = [
  {
    name: 'orientation',
    title: 'Orientation and Direction',
    note: 'the icon mirrored or as its set draws it; icons that are their own mirror image are left out',
    mayVanish: true,
    draw: orientation,
  },
  {
    name: 'presence',
    title: 'Presence of Specific Features',
    note: 'a second icon beside the first, or not',
    draw: presence,
  },
  {
    name: 'state',
    title: 'State and Condition',
    note: 'an approximation: colours washed out or strong',
    mayVanish: true,
    draw: state,
  },
  { name: 'quantity', title: 'Quantity and Count', note: 'one icon more or less', draw: quantity },
  {
    name: 'position',
    title: 'Positional and Relational Context',
    note: 'a second icon left or right of the first',
    draw: position,
  },
  { name: 'colour', title: 'Color and Appearance', note: 'in shades of red or of blue', draw: colour },
  {
    name: 'structure',
    title: 'Structural and Physical Characteristics',
    note: 'an approximation: the bare silhouette or the whole drawing',
    mayVanish: true,
    draw: structure,
  },
  { name: 'text', title: 'Texts', note: 'one capital letter or another', draw: text },
  {
    name: 'viewpoint',
    title: 'Viewpoint and Perspective',
    note: 'an approximation: the icon turned to the right or to the left, as a tilted camera would show it',
    draw: viewpoint,
  },
];
