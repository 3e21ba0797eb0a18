// A frozen encoder with linear probes as a subject: ridge regression from its features to the targets of the suite's probe
// rows, and every question answered by how likely its claims are under them. Nothing of the encoder is trained.

import { canonicalJson } from '@fovea/artifacts';
import { permutation } from '@fovea/tensor/random';
import type { Answer } from '../judging/answer.ts';
import { fitRidge, standardise } from '../ridge-fit.ts';
import type { Claim, Item, ProbeRow } from '../suite/item.ts';
import type { Suite } from '../suite/suite.ts';
import { classesAnswer, errorAnswer, rounded, scoresAnswer } from './choosing.ts';
import { Features, type JudgedEncoder } from './features.ts';
import { type Gallery, galleriesOf, ranksAnswer } from './gallery.ts';
import { readFeatures } from './read-features.ts';
import type { Request, Subject, SubjectRun } from './subject.ts';

const FOLDS = 5;
/** Fits that are kept. */
const FITTED = 8;
/** Targets that say whether a thing is in the picture, 0 or 1, by its name. */
const PRESENCE = 'has/';
/** A thing is named in a caption where its presence is estimated above this. */
const THRESHOLD = 0.5;

/** One fitted column of a target. */
interface Column {
  /** [dim], on standardised features. */
  weights: Float64Array;
  intercept: number;
  /** Mean squared error of held-out folds. */
  variance: number;
}

interface Probes {
  mean: Float64Array;
  scale: Float64Array;
  columns: Map<string, Column[]>;
}

interface Prepared {
  suite: Suite;
  probes: Probes;
  galleries: Map<string, Gallery>;
  /** Presence targets that each caption of a gallery speaks of. */
  mentions: Map<string, string[]>;
  /** Presences by feature: those of a gallery are asked for again and again. */
  odds: WeakMap<Float32Array, (name: string) => number>;
}

/** Answers are Gaussian log-likelihoods of claims, estimates of targets, and captions of the things that seem to be there. */
export function probeSubject(judged: JudgedEncoder): Subject {
  const features = new Features(judged);
  const fitted = new Map<string, Probes>();
  let prepared: Prepared | null = null;

  /** Suites that share their probe rows share the fit. */
  async function probesOf(suite: Suite, run: SubjectRun): Promise<Probes> {
    const { probes: rows, source } = suite.manifest;
    // A scene says what is drawn, its world how.
    const key = canonicalJson([rows?.sha256 ?? null, source.world ?? source]);
    const known = fitted.get(key);
    if (known) return known;
    const pictures = suite.probes.map(({ picture }) => picture);
    const probes = fit(suite, await readFeatures(suite, pictures, features, run, 'probe rows'), features.dim);
    if (fitted.size >= FITTED) fitted.delete(fitted.keys().next().value as string);
    fitted.set(key, probes);
    return probes;
  }

  async function answer(requests: readonly Request[], run: SubjectRun): Promise<Answer[]> {
    if (prepared === null) throw new Error('A probe is asked before a suite was prepared.');
    const seen = await features.ofRequests(requests, run);
    return requests.map(({ item }, i) => answerOf(item, seen[i], prepared as Prepared));
  }

  return {
    kind: 'probe',
    identity: {
      ...judged.identity,
      imageSize: judged.imageSize,
      framing: features.framing,
      probe: { model: 'ridge', folds: FOLDS, presence: THRESHOLD, version: 1 },
    },
    refuses: refusal,
    async prepare(suite, run) {
      const why = refusal(suite);
      if (why !== null) throw new Error(why);
      const probes = await probesOf(suite, run);
      const galleries = await galleriesOf(suite, features, run);
      prepared = { suite, probes, galleries, mentions: mentionsOf(suite, galleries), odds: new WeakMap() };
    },
    answer,
    async dispose() {},
  };
}

/** Fits all targets; rows whose pictures cannot be read are left out. */
function fit({ manifest, probes }: Suite, found: readonly (Float32Array | null)[], d: number): Probes {
  const at = probes.flatMap((_, i) => (found[i] === null ? [] : [i]));
  const rows = at.map((i) => probes[i]);
  const features = new Float32Array(rows.length * d);
  at.forEach((i, row) => {
    features.set(found[i] as Float32Array, row * d);
  });
  if (!features.every(Number.isFinite)) throw new Error(`Features of probe rows of ${manifest.name} are not finite.`);
  const all = Int32Array.from(rows.keys());
  const { x, mean, scale } = standardise(features, d, all);
  const names = Object.entries(rows[0].targets).map(([name, values]) => ({ name, width: values.length }));
  const columns = names.flatMap(({ name, width }) =>
    Array.from({ length: width }, (_, c) => Float64Array.from(rows, ({ targets }) => targets[name][c])),
  );
  const intercepts = columns.map((y) => y.reduce((sum, v) => sum + v, 0) / y.length);
  const centred = columns.map((y, c) => y.map((v) => v - intercepts[c]));
  const { weights, variance } = fitRidge(x, d, centred, { rows: all, folds: foldsOf(rows), count: FOLDS });
  let column = 0;
  const byName = names.map(({ name, width }): [string, Column[]] => [
    name,
    Array.from({ length: width }, () => {
      const c = column++;
      return { weights: weights[c], intercept: intercepts[c], variance: Math.max(variance[c], 1e-12) };
    }),
  ]);
  return { mean, scale, columns: new Map(byName) };
}

/** Whole clusters in one fold each, in an order drawn from the clusters' number alone. */
function foldsOf(rows: readonly ProbeRow[]): Int32Array {
  const clusters = [...new Set(rows.map(({ cluster }) => cluster))].sort();
  const order = permutation(clusters.length, 0, 'probe-folds');
  const place = new Map(clusters.map((name, i) => [name, order[i] % FOLDS]));
  return Int32Array.from(rows, ({ cluster }) => place.get(cluster) as number);
}

/** What the probes make of one picture. */
function reader({ mean, scale, columns }: Probes, feature: Float32Array) {
  const x = Float64Array.from(feature, (v, k) => (v - mean[k]) * scale[k]);
  const read = ({ weights, intercept }: Column) => {
    let sum = intercept;
    for (let k = 0; k < x.length; k++) sum += x[k] * weights[k];
    return sum;
  };
  const column = (target: string) => (columns.get(target) as Column[])[0];
  return {
    values: (target: string) => (columns.get(target) as Column[]).map(read),
    logLikelihood({ target, value }: Claim): number {
      const { variance } = column(target);
      return -0.5 * ((value - read(column(target))) ** 2 / variance + Math.log(2 * Math.PI * variance));
    },
    /** Log odds that a thing is there. */
    presence(name: string): number {
      const target = column(PRESENCE + name);
      return (read(target) - THRESHOLD) / target.variance;
    },
  };
}

function answerOf(item: Item, seen: Float32Array[], prepared: Prepared): Answer {
  const { suite, probes, galleries, mentions } = prepared;
  if (seen.some((feature) => !feature.every(Number.isFinite)))
    return errorAnswer('The encoder gives features that are not finite.');
  const { ask } = item;
  const [first] = seen.map((feature) => reader(probes, feature));
  switch (ask.kind) {
    case 'yesno':
    case 'choice':
      return scoresAnswer((ask.claims as Claim[]).map(first.logLikelihood));
    case 'pick':
      return scoresAnswer(seen.map((feature) => reader(probes, feature).logLikelihood(ask.claim as Claim)));
    case 'classify':
      return classesAnswer((suite.manifest.classes as string[]).map(first.presence), ask.gold);
    case 'estimate':
      return { kind: 'values', values: first.values(ask.target).map(rounded) };
    case 'caption':
      return captionOf(probes, first.presence);
    case 'retrieve': {
      const gallery = galleries.get(item.split) as Gallery;
      return ranksAnswer(item.id, seen[0], gallery, (feature, at) => {
        const odds = presences(prepared, feature);
        return (mentions.get(gallery.captions[at]) as string[]).reduce((sum, name) => sum + odds(name), 0);
      });
    }
  }
}

/** Log odds by name, worked out once for a picture of a gallery. */
function presences({ probes, odds }: Prepared, feature: Float32Array): (name: string) => number {
  let known = odds.get(feature);
  if (!known) {
    const { presence } = reader(probes, feature);
    const kept = new Map<string, number>();
    known = (name) => {
      const found = kept.get(name) ?? presence(name);
      kept.set(name, found);
      return found;
    };
    odds.set(feature, known);
  }
  return known;
}

/** The things that seem to be there, the likeliest first, as one sentence. */
function captionOf({ columns }: Probes, presence: (name: string) => number): Answer {
  const names = [...columns.keys()]
    .filter((name) => name.startsWith(PRESENCE))
    .map((name) => name.slice(PRESENCE.length));
  const odds = new Map(names.map((name) => [name, presence(name)]));
  const there = names.filter((name) => (odds.get(name) as number) > 0);
  there.sort((a, b) => (odds.get(b) as number) - (odds.get(a) as number));
  return { kind: 'text', text: captionText(there), tokens: null, finish: 'stop' };
}

/** A caption that names things and says nothing else. */
export const captionText = (names: readonly string[]): string =>
  names.length === 0 ? '' : `A picture of ${names.map((name) => `a ${name}`).join(' and ')}.`;

/** Why probes cannot answer a suite; null where they can. */
function refusal({ manifest: { name, classes }, items, probes }: Suite): string | null {
  if (probes.length === 0) return `The suite ${name} has no probe rows, so nothing can be fitted to answer it.`;
  const { targets } = probes[0];
  const lacking = (target: string): string | null => {
    if (!Object.hasOwn(targets, target)) return `The probe rows of the suite ${name} have no target ${target}.`;
    return targets[target].length === 1 ? null : `The target ${target} of the suite ${name} has several columns.`;
  };
  for (const { id, ask } of items) {
    if (ask.kind === 'estimate') {
      if (targets[ask.target]?.length !== ask.gold.length)
        return `The probe rows of the suite ${name} have no target ${ask.target} of ${ask.gold.length} columns.`;
      continue;
    }
    if (ask.kind === 'caption' || ask.kind === 'retrieve' || ask.kind === 'classify') continue;
    const claims = ask.kind === 'pick' ? ask.claim && [ask.claim] : ask.claims;
    if (!claims || (ask.kind === 'choice' && claims.length !== ask.options.length))
      return `The suite ${name} makes no claims that a probe could weigh (item ${id}).`;
    for (const { target } of claims) {
      const why = lacking(target);
      if (why !== null) return why;
    }
  }
  if (items.some(({ ask }) => ask.kind === 'classify'))
    for (const label of classes ?? ['']) {
      const why = lacking(PRESENCE + label);
      if (why !== null) return why;
    }
  const needsPresence = items.some(({ ask }) => ask.kind === 'caption' || ask.kind === 'retrieve');
  if (needsPresence && !Object.keys(targets).some((target) => target.startsWith(PRESENCE)))
    return `The probe rows of the suite ${name} do not say what is in their pictures (targets ${PRESENCE}…).`;
  return null;
}

/** Things of the presence targets that captions name as whole words, the longer name first where names lie in each other. */
function mentionsOf({ probes }: Suite, galleries: Map<string, Gallery>): Map<string, string[]> {
  const names = Object.keys(probes[0].targets)
    .filter((target) => target.startsWith(PRESENCE))
    .map((target) => target.slice(PRESENCE.length))
    .sort((a, b) => b.length - a.length || (a < b ? -1 : 1));
  const captions = [...galleries.values()].flatMap((gallery) => gallery.captions);
  return new Map(
    captions.map((caption): [string, string[]] => {
      let rest = ` ${caption.toLowerCase().replace(/[^\p{L}\p{N}-]+/gu, ' ')} `;
      const found = names.filter((name) => {
        const parts = rest.split(` ${name.toLowerCase()} `);
        rest = parts.join('  ');
        return parts.length > 1;
      });
      return [caption, found];
    }),
  );
}
