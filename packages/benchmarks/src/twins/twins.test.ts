// The emoji twins on a small world: whole suites whose every answer follows from what was painted, whose probe rows are
// other pictures, and which depend on the seed alone.

import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { canonicalJson } from '@fovea/artifacts';
import { type Composition, type EmojiWorld, openEmojiWorld, type Scene } from '@fovea/data';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { corrupt } from '../corruptions/index.ts';
import { ObjectMentions } from '../kinds/object-mentions.ts';
import { captionText, probeSubject } from '../subjects/probe.ts';
import { PlantedEncoder } from '../subjects/testing-dots.ts';
import type { Item, PictureRef } from '../suite/item.ts';
import { KINDS } from '../suite/manifest.ts';
import type { Suite } from '../suite/suite.ts';
import { suiteOf } from '../suite/suite-of.ts';
import { emojiTwins, type TwinOptions, twinReader } from './index.ts';
import { PATTERNS } from './patterns.ts';

let cacheDir: string;
let world: EmojiWorld;
const suites = new Map<string, Suite>();
const small: TwinOptions = { seed: 3, share: 0.05 };

const build = async (name: string, options = small) =>
  suiteOf(await emojiTwins[name](world, options), twinReader(world, corrupt));

beforeAll(async () => {
  cacheDir = await mkdtemp(path.join(os.tmpdir(), 'fovea-twins-'));
  world = await openEmojiWorld(
    {
      kind: 'emoji-world',
      imageSize: 32,
      concepts: 20,
      trainStyles: ['noto', 'twemoji'],
      redrawStyles: ['noto-v1'],
      heldOutStyles: ['openmoji'],
      monochrome: 0,
      hue: 0,
      monochromeRamp: 0,
      scale: [0.5, 1],
      rotation: 15,
    },
    cacheDir,
  );
  for (const name of Object.keys(emojiTwins)) suites.set(name, await build(name));
}, 240_000);
afterAll(() => rm(cacheDir, { recursive: true, force: true }));

const suite = (name: string): Suite => suites.get(name) as Suite;
const sceneOf = (picture: PictureRef): Scene | Composition =>
  (picture as unknown as { scene: Scene | Composition }).scene;
const namesIn = (picture: PictureRef): Set<string> => {
  const scene = sceneOf(picture);
  return new Set(('icons' in scene ? scene.icons : [scene]).map(({ concept }) => world.classes[concept]));
};
const askOf = <K extends Item['ask']['kind']>(item: Item) => item.ask as Extract<Item['ask'], { kind: K }>;

describe('emoji twins', () => {
  it('are there for every kind', () => {
    expect([...new Set([...suites.values()].map(({ manifest }) => manifest.kind))].sort()).toEqual([...KINDS].sort());
    for (const [name, { manifest, items }] of suites) {
      expect(manifest.name).toBe(name);
      expect(items.length).toBeGreaterThan(0);
    }
  });

  it('can be answered by a probe, fitted on other pictures than are asked about', () => {
    for (const each of suites.values()) {
      expect(probeSubject({ encoder: new PlantedEncoder(), identity: {}, imageSize: 8 }).refuses(each)).toBeNull();
      const asked = new Set(each.items.flatMap(({ pictures }) => pictures.map((one) => canonicalJson(sceneOf(one)))));
      expect(each.probes.filter(({ picture }) => asked.has(canonicalJson(sceneOf(picture))))).toEqual([]);
    }
  });

  it('follow from the seed and nothing else', async () => {
    for (const name of ['emoji-pope', 'emoji-mmvp', 'emoji-cue-conflict', 'emoji-probes']) {
      expect((await build(name)).manifest).toEqual(suite(name).manifest);
      expect((await build(name, { ...small, seed: 4 })).manifest.items.sha256).not.toBe(
        suite(name).manifest.items.sha256,
      );
    }
  });

  it('paint every picture, corrupted where that is asked', async () => {
    for (const { items, read } of suites.values()) {
      for (const item of items.filter((_, i) => i % 13 === 0)) {
        const [picture] = item.pictures;
        const pixels = await read(picture);
        expect([pixels.width, pixels.height, pixels.data.length]).toEqual([32, 32, 3 * 32 * 32]);
        if (!picture.corruption) continue;
        const clean = await read({ ...picture, corruption: undefined });
        expect(pixels.data).not.toEqual(clean.data);
      }
    }
  });

  it('ask POPE of what is painted and of nothing else', () => {
    const { items, manifest } = suite('emoji-pope');
    expect(Object.keys(manifest.splits)).toEqual(['random', 'popular', 'adversarial']);
    for (const item of items) {
      const ask = askOf<'yesno'>(item);
      expect(namesIn(item.pictures[0]).size).toBeGreaterThanOrEqual(3);
      expect(namesIn(item.pictures[0]).has(item.meta.object as string)).toBe(ask.gold === 'yes');
      expect(ask.texts?.[0]).toBe(item.meta.object);
      expect(ask.claims?.map(({ value }) => value)).toEqual([1, 0]);
    }
  });

  it('ask RobustVQA once of the right name and once of a wrong one', () => {
    const { items, manifest } = suite('emoji-robustvqa');
    expect(Object.keys(manifest.splits)).toEqual(['A-unfiltered', 'R', 'V2']);
    expect(manifest.omitted).toContainEqual({
      what: 'A',
      reason: 'no independent encoder was given to choose its pictures',
    });
    for (const item of items)
      expect(namesIn(item.pictures[0]).has(item.meta.object as string)).toBe(askOf<'yesno'>(item).gold === 'yes');
  });

  it('ask pairs of two concepts that an encoder confuses, both ways, and every picture once', async () => {
    const { items, manifest } = suite('emoji-pairs');
    expect(items.length).toBeGreaterThan(4);
    for (const item of items) {
      const { text, gold } = askOf<'pick'>(item);
      const [one, two] = item.pictures.map(namesIn);
      expect([one.has(text), two.has(text)]).toEqual([gold === 0, gold === 1]);
      expect(item.meta.similar).toBeGreaterThan(0.5);
      const pair = items.filter((other) => other.pair === item.pair);
      expect(pair.map((each) => askOf<'pick'>(each).gold)).toEqual([0, 1]);
      expect(pair[1].pictures).toEqual(pair[0].pictures);
    }
    const pictures = items.flatMap((item, i) =>
      i % 2 ? [] : item.pictures.map((each) => canonicalJson(sceneOf(each))),
    );
    expect(new Set(pictures).size).toBe(pictures.length);
    expect(manifest.notes[0]).toContain('by their pixels');
    const foil = { encoder: new PlantedEncoder(), id: 'planted' };
    expect((await build('emoji-pairs', { ...small, foil })).manifest.source.foil).toBe('planted');
  });

  it('change one thing between the pictures of a pair', async () => {
    const { items, read } = suite('emoji-mmvp-vlm');
    expect(new Set(items.map(({ meta }) => meta.pattern))).toEqual(new Set(PATTERNS.map(({ name }) => name)));
    for (const item of items) {
      const [one, two] = item.pictures.map(sceneOf) as Composition[];
      expect(one.background).toEqual(two.background);
      const [a, b] = await Promise.all(item.pictures.map(read));
      expect(Buffer.compare(a.data, b.data)).not.toBe(0);
    }
    const pairs = items
      .filter((_, i) => i % 2 === 0)
      .map((first) => [first, items.find((other) => other.pair === first.pair && other !== first) as Item]);
    for (const [first, second] of pairs) {
      expect(second.pictures).toEqual(first.pictures);
      expect([askOf<'pick'>(first).gold, askOf<'pick'>(second).gold]).toEqual([0, 1]);
      expect(askOf<'pick'>(first).text).not.toBe(askOf<'pick'>(second).text);
    }
  });

  it('claim of patterns what is painted', () => {
    const checks: Record<string, (scene: Composition, value: number) => boolean> = {
      mirrored: ({ icons }, value) => (icons[0].mirrored === true) === value > 0,
      companion: ({ icons }, value) => icons.some(({ concept }) => concept === 0) === value > 0,
      faded: ({ icons }, value) => (icons[0].hue as { saturation: number }).saturation < 1 === value > 0,
      count: ({ icons }, value) => icons.length === value,
      left: ({ icons }, value) => icons[1].x < icons[0].x === value > 0,
      red: ({ icons }, value) => (icons[0].tint?.colour[0] as number) > 0.5 === value > 0,
      solid: ({ icons }, value) => (icons[0].tint?.solid === true) === value > 0,
      leaning: ({ icons }, value) => icons[0].rotation > 0 === value > 0,
    };
    for (const item of suite('emoji-mmvp').items) {
      const ask = askOf<'choice'>(item);
      const { target, value } = (ask.claims as { target: string; value: number }[])[ask.gold];
      const scene = sceneOf(item.pictures[0]) as Composition;
      const holds = target.startsWith('letter/')
        ? scene.letter?.text === target.slice(7)
        : checks[target](scene, value);
      expect([item.id, holds]).toEqual([item.id, true]);
    }
  });

  it('name captions’ objects so that the lexicon finds each of them', () => {
    const { items, manifest } = suite('emoji-chair');
    const mentions = new ObjectMentions(manifest.lexicon as NonNullable<typeof manifest.lexicon>);
    for (const item of items) {
      const { gold } = askOf<'caption'>(item);
      expect(new Set(gold)).toEqual(namesIn(item.pictures[0]));
      expect(mentions.objects(captionText(gold))).toEqual(gold);
    }
  });

  it('tell pictures of a retrieval apart by their things', () => {
    const captions = suite('emoji-retrieval').items.map((item) => askOf<'retrieve'>(item).captions[0]);
    expect(new Set(captions).size).toBe(captions.length);
  });

  it('set shape against texture', () => {
    for (const item of suite('emoji-cue-conflict').items) {
      const { gold, other } = askOf<'classify'>(item);
      const [icon] = (sceneOf(item.pictures[0]) as Composition).icons;
      expect([icon.concept, icon.texture?.concept]).toEqual([gold, other]);
      expect(gold).not.toBe(other);
    }
  });

  it('refuse scenes that are not of their world, in one sentence', async () => {
    const read = twinReader(world, corrupt);
    const [{ pictures }] = suite('emoji-classify').items;
    const scene = sceneOf(pictures[0]);
    const shown = (changed: object) => read({ kind: 'scene', scene: { ...scene, ...changed } as never });
    await expect(shown({ concept: 99 })).rejects.toThrow(/asks for concept 99, but this world has 20/);
    await expect(shown({ scale: -1 })).rejects.toThrow(/cannot be painted: scale/);
    await expect(shown({ sclae: 1 })).rejects.toThrow(/cannot be painted/);
    await expect(read({ kind: 'scene', scene: { icons: [], background: null } })).rejects.toThrow(/cannot be painted/);
    await expect(read({ kind: 'file', path: 'a.png', sha256: '0'.repeat(64), width: 1, height: 1 })).rejects.toThrow(
      /"a.png" is a file/,
    );
  });

  it('need a world that is large enough', async () => {
    const tiny = Object.create(world, { classes: { value: world.classes.slice(0, 3) } }) as EmojiWorld;
    await expect(emojiTwins['emoji-pope'](tiny)).rejects.toThrow(
      /twin of POPE needs a world of at least 8 concepts, and this one has 3/,
    );
  });
});
