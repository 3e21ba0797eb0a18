// Errors by the survey's taxonomy (arXiv 2402.00253): a judgement (answering a question) or a description (talking freely),
// about an object, an attribute or a relation. Items say so in `meta.aspect`; else it follows from what they ask.

import type { Item } from '../../suite/item.ts';
import type { JudgedSuite } from '../judged-run.ts';

export const TASKS = ['judgement', 'description'] as const;
export const ASPECTS = ['object', 'attribute', 'relation'] as const;
export type Task = (typeof TASKS)[number];
export type Aspect = (typeof ASPECTS)[number];

/** Words in a pattern's or a probe's name, and what they are about; the first that fits counts. */
const WORDS: readonly (readonly [RegExp, Aspect])[] = [
  [/orientation|direction|position|relation|viewpoint|perspective|spatial|place/i, 'relation'],
  [/count|quantity|colou?r|appearance|state|condition|structur|physical|text|size|shape/i, 'attribute'],
  [/presence|feature|object/i, 'object'],
];

export function aspectOf({ meta, ask }: Item): Aspect {
  const said = ASPECTS.find((aspect) => aspect === meta.aspect);
  if (said) return said;
  const name = ask.kind === 'estimate' ? ask.target : typeof meta.pattern === 'string' ? meta.pattern : '';
  return WORDS.find(([words]) => words.test(name))?.[1] ?? 'object';
}

export const taskOf = ({ ask }: Item): Task => (ask.kind === 'caption' ? 'description' : 'judgement');

export interface Cell {
  asked: number;
  /** Wrong answers, with what was not understood and what failed. */
  wrong: number;
}

/** Every cell of the taxonomy over a run's suites. Numbers that are estimated are neither right nor wrong and left out. */
export function errorsByKind(suites: readonly JudgedSuite[]): Record<Task, Record<Aspect, Cell>> {
  const row = () => Object.fromEntries(ASPECTS.map((a) => [a, { asked: 0, wrong: 0 }])) as Record<Aspect, Cell>;
  const table: Record<Task, Record<Aspect, Cell>> = { judgement: row(), description: row() };
  for (const { items, scored } of suites) {
    const byId = new Map(scored.map((one) => [one.itemId, one]));
    for (const item of items) {
      const one = byId.get(item.id);
      if (!one || item.ask.kind === 'estimate') continue;
      const cell = table[taskOf(item)][aspectOf(item)];
      cell.asked++;
      cell.wrong += 1 - one.correct;
    }
  }
  return table;
}
