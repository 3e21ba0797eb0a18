// A part of a suite for a quick look: `n` questions or a few more, drawn by a seed from every stratum (split, kind of
// question and what is right) in proportion. Clusters and pairs stay whole, so that intervals and pair scores mean what
// they do for all of it. The part is a suite of its own, with its own hash.

import { philox } from '@fovea/tensor/random';
import type { Item } from '../suite/item.ts';
import type { Suite } from '../suite/suite.ts';
import { draftOf, suiteOf } from '../suite/suite-of.ts';

/** The suite itself where it has no more than `n` items. */
export function limited(suite: Suite, n: number, seed: number): Suite {
  const { manifest, items } = suite;
  if (items.length <= n) return suite;
  const chosen = new Set<Item>();
  const strata = [...strataOf(unitsOf(items))].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, units]) => units);
  const queues = strata.map((units, i) => ({
    units: shuffled(units, seed, i),
    taken: 0,
    size: units.reduce((sum, unit) => sum + unit.length, 0),
  }));
  while (chosen.size < n) {
    const open = queues.filter(({ units }) => units.length > 0);
    const next = open.reduce((a, b) => (b.taken / b.size < a.taken / a.size ? b : a));
    const unit = next.units.pop()!;
    next.taken += unit.length;
    for (const item of unit) chosen.add(item);
  }
  const whole = draftOf(suite);
  return suiteOf(
    {
      ...whole,
      source: { ...whole.source, limit: { n, seed, of: manifest.items } },
      notes: [...whole.notes, `a part: ${chosen.size} of ${items.length} questions`],
      items: items.filter((item) => chosen.has(item)),
    },
    (picture) => suite.read(picture),
  );
}

/** Items that share a cluster or a pair, however far the chain goes, in order of first appearance. */
function unitsOf(items: readonly Item[]): Item[][] {
  const parent = items.map((_, i) => i);
  const root = (i: number): number => {
    while (parent[i] !== i) {
      parent[i] = parent[parent[i]];
      i = parent[i];
    }
    return i;
  };
  const first = new Map<string, number>();
  items.forEach((item, i) => {
    for (const key of [`cluster ${item.cluster}`, ...(item.pair === undefined ? [] : [`pair ${item.pair}`])]) {
      const known = first.get(key);
      if (known === undefined) first.set(key, i);
      else {
        const [a, b] = [root(known), root(i)];
        parent[Math.max(a, b)] = Math.min(a, b);
      }
    }
  });
  const units = new Map<number, Item[]>();
  items.forEach((item, i) => {
    const at = root(i);
    const known = units.get(at);
    if (known) known.push(item);
    else units.set(at, [item]);
  });
  return [...units.values()];
}

function strataOf(units: readonly Item[][]): Map<string, Item[][]> {
  const strata = new Map<string, Item[][]>();
  for (const unit of units) {
    const { split, ask } = unit[0];
    const key = JSON.stringify([split, ask.kind, 'gold' in ask && typeof ask.gold !== 'object' ? ask.gold : null]);
    const known = strata.get(key);
    if (known) known.push(unit);
    else strata.set(key, [unit]);
  }
  return strata;
}

function shuffled<T>(all: readonly T[], seed: number, stratum: number): T[] {
  const out = [...all];
  const rng = philox(seed, 'limit', 0, stratum);
  for (let i = out.length - 1; i > 0; i--) {
    const j = rng.int(i + 1);
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}
