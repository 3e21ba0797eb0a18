// A draft as a suite: parsed, checked as a whole, counted and hashed. A draft in memory and the folder that it is written
// to have the same manifest, down to its hash; what reads pictures is given, not known here.

import { canonicalJson, FoveaError, sha256Hex } from '@fovea/artifacts';
import type { Draft } from './draft.ts';
import { type Item, itemSchema, type PictureRef, type ProbeRow, probeRowSchema } from './item.ts';
import { type Manifest, manifestSchema } from './manifest.ts';
import { parseAs, pathFault } from './safe-files.ts';
import type { Suite } from './suite.ts';

/** A suite without its pictures. */
export type SuiteText = Pick<Suite, 'manifest' | 'items' | 'probes'>;

/** Items or probe rows as the lines that are hashed: canonical JSON, one a line, however a file spells them. */
export const canonicalLines = (all: readonly unknown[]): string =>
  all.map((each) => `${canonicalJson(each)}\n`).join('');

/** Parses and checks a draft. Throws a FoveaError in one sentence for the first thing that is wrong. */
export function encodeDraft(draft: Draft): SuiteText {
  const what = `The suite "${draft.name}"`;
  const { items: rawItems, probes: rawProbes, ...facts } = draft;
  const items = rawItems.map((each, i) => parseAs(itemSchema, each, `${what}, item ${i + 1},`));
  const probes = rawProbes.map((each, i) => parseAs(probeRowSchema, each, `${what}, probe row ${i + 1},`));
  const manifest = parseAs(
    manifestSchema,
    {
      ...facts,
      version: 1,
      splits: countSplits(items),
      items: { count: items.length, sha256: sha256Hex(canonicalLines(items)) },
      ...(probes.length > 0 && { probes: { count: probes.length, sha256: sha256Hex(canonicalLines(probes)) } }),
    },
    what,
  );
  checkSuite(manifest, items, probes, what);
  return { manifest, items, probes };
}

/** A draft as a suite in memory; `read` gives its pictures. */
export function suiteOf(draft: Draft, read: (picture: PictureRef) => ReturnType<Suite['read']>): Suite {
  const { manifest, items, probes } = encodeDraft(draft);
  return { manifest, items, probes, read };
}

/** The draft that a suite could have been made of. */
export function draftOf({ manifest, items, probes }: Suite): Draft {
  const { version: _version, splits: _splits, items: _items, probes: _probes, ...facts } = manifest;
  return { ...facts, items: [...items], probes: [...probes] };
}

/** SHA-256 of all that a suite is: its manifest, with the hashes of items and pictures inside. */
export const manifestHash = (manifest: Manifest): string => sha256Hex(canonicalJson(manifest));

export function countSplits(items: readonly Item[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const { split } of items) counts.set(split, (counts.get(split) ?? 0) + 1);
  return Object.fromEntries(counts);
}

/** What no line shows by itself: ids used twice, positions out of range, paths that climb, targets that no row has. */
export function checkSuite(
  manifest: Manifest,
  items: readonly Item[],
  probes: readonly ProbeRow[],
  what: string,
): void {
  const refuse = (id: string, why: string): never => {
    throw new FoveaError(`${what} is refused: "${id}" ${why}.`);
  };
  const targets = checkProbes(probes, refuse);
  const ids = new Set<string>();
  for (const item of items) {
    if (ids.has(item.id)) refuse(item.id, 'is the id of two items; make ids unique');
    ids.add(item.id);
    checkPaths(item.id, item.pictures, refuse);
    const fault = askFault(item, manifest, targets);
    if (fault !== null) refuse(item.id, fault);
  }
}

type Refuse = (id: string, why: string) => never;

/** Returns the columns of each target; null where there are no rows to know them from. */
function checkProbes(probes: readonly ProbeRow[], refuse: Refuse): Map<string, number> | null {
  if (probes.length === 0) return null;
  const columns = new Map(Object.entries(probes[0].targets).map(([name, values]) => [name, values.length]));
  const ids = new Set<string>();
  for (const row of probes) {
    if (ids.has(row.id)) refuse(row.id, 'is the id of two probe rows; make ids unique');
    ids.add(row.id);
    checkPaths(row.id, [row.picture], refuse);
    const own = Object.entries(row.targets);
    if (own.length !== columns.size || own.some(([name, values]) => columns.get(name) !== values.length))
      refuse(row.id, 'has other targets than the first probe row');
  }
  return columns;
}

function checkPaths(id: string, pictures: readonly PictureRef[], refuse: Refuse): void {
  for (const picture of pictures) {
    const fault = picture.kind === 'file' ? pathFault(picture.path) : null;
    if (fault !== null) refuse(id, `shows "${(picture as { path: string }).path}", a path that is refused: ${fault}`);
  }
}

function askFault(item: Item, manifest: Manifest, targets: Map<string, number> | null): string | null {
  const { ask, pictures } = item;
  const many = ask.kind === 'pick';
  if (!many && pictures.length !== 1) return `shows ${pictures.length} pictures where one is asked about`;
  if (ask.kind === 'choice') {
    if (ask.gold >= ask.options.length) return `has ${ask.options.length} options and the right one is ${ask.gold}`;
    for (const each of [ask.texts, ask.claims])
      if (each && each.length !== ask.options.length) return `has ${each.length} texts or claims for its options`;
  }
  if (ask.kind === 'pick' && (pictures.length < 2 || ask.gold >= pictures.length))
    return `lets pick from ${pictures.length} pictures and the right one is ${ask.gold}`;
  if (ask.kind === 'classify') {
    const count = manifest.classes?.length ?? 0;
    if (Math.max(ask.gold, ask.other ?? 0) >= count)
      return `names class ${ask.gold}, and the manifest has ${count} classes`;
  }
  if (targets === null) return ask.kind === 'estimate' ? 'asks for numbers, and the suite has no probe rows' : null;
  const asked = [
    ...('claims' in ask && ask.claims ? ask.claims.map(({ target }) => target) : []),
    ...('claim' in ask && ask.claim ? [ask.claim.target] : []),
    ...(ask.kind === 'estimate' ? [ask.target] : []),
  ];
  const missing = asked.find((target) => !targets.has(target));
  if (missing !== undefined) return `speaks of "${missing}", which no probe row has`;
  return ask.kind === 'estimate' && targets.get(ask.target) !== ask.gold.length
    ? `has ${ask.gold.length} numbers for "${ask.target}" where probe rows have ${targets.get(ask.target)}`
    : null;
}
