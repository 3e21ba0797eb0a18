// The head of the report: what ran, the outcome in a few cards and one sentence, and how the numbers may be read. Every
// word of the outcome is derived from the comparisons; nothing is promised that they do not say.

import { stoppedBranches } from '../branch-gates.ts';
import type { JudgedComparison, RoleComparisons } from '../compare.ts';
import type { RunData } from '../run-data.ts';
import { resultOf, type Scorecard } from '../scorecard.ts';
import { stageSummaries } from '../summary.ts';
import { pill } from './comparisons.ts';
import {
  difference,
  differenceInterval,
  esc,
  type Html,
  level,
  levelInterval,
  metricName,
  pValue,
  roleClass,
  seconds,
  signed,
} from './html.ts';

export function header(data: RunData): Html {
  const stages = stageSummaries(data);
  const total = stages.reduce((sum, stage) => sum + stage.seconds, 0);
  const facts = [
    ['recipe', data.recipe.name],
    ['status', data.status],
    ['data', dataText(data.recipe)],
    ['training', `${stages.reduce((sum, s) => sum + s.steps, 0)} steps, ${seconds(total)}`],
    ['checkpoints', `${data.rounds.length}, of which ${data.scorecards.length} scored`],
    ...(data.createdAt ? [['started', data.createdAt]] : []),
  ];
  const list = facts.map(([name, value]) => `<div><dt>${esc(name)}</dt><dd>${esc(value)}</dd></div>`);
  return `<header><p class="brand">Fovea</p><h1>${esc(data.run)}</h1><dl class="facts">${list.join('')}</dl></header>`;
}

function dataText({ data }: RunData['recipe']): string {
  if (data.kind === 'image-folder') return `picture folder, ${data.imageSize} px`;
  return `emoji world, ${data.concepts === 'all' ? 'all' : data.concepts} concepts, ${data.imageSize} px`;
}

interface Card {
  title: string;
  value: string;
  detail: string;
  verdict?: JudgedComparison['verdict'];
}

/** The outcome in cards. */
export function cards(data: RunData, finals: Map<string, Scorecard>, comparisons: RoleComparisons): Html {
  const list: Card[] = [];
  const primary = comparisons.rows.find((row) => row.kind === 'primary');
  if (primary) {
    list.push(comparisonCard('Names on re-drawn styles', primary, `p ${pText(primary.p)}, primary`));
  }
  const probe = colourProbe(comparisons);
  if (probe)
    list.push(comparisonCard(`Decodable: ${probe.metric.slice(3)}`, probe, `Holm p ${pText(probe.pAdjusted ?? 1)}`));
  const kept = comparisons.rows.find(
    (r) => r.suite === 'retention' && r.metric === 'top1' && r.a === 'aligned' && r.b === 'baseline',
  );
  const id = finals.get('aligned') && resultOf(finals.get('aligned') as Scorecard, 'retention', 'id', 'top1');
  if (kept && id) {
    list.push({
      title: 'Retention, in distribution',
      value: level(id.value, 'top1'),
      detail: `aligned ${levelInterval(id.ci, 'top1')}; ${difference(kept.delta, 'top1')} against the baseline`,
    });
  }
  const gap = stageSummaries(data).filter((stage) => stage.conditionGap !== null);
  const last = gap.find((stage) => stage.role === 'aligned') ?? gap[gap.length - 1];
  if (last) {
    list.push({
      title: 'Condition gap',
      value: signed(last.conditionGap as number, 4),
      detail: `after ${last.name}; above 0 the denoiser uses what the encoder says`,
    });
  }
  return `<div class="cards">${list.map(card).join('')}</div>`;
}

function card({ title, value, detail, verdict }: Card): Html {
  return `<div class="card"><h3>${esc(title)}</h3><p class="big">${esc(value)}${verdict ? ` ${pill(verdict)}` : ''}</p><p class="quiet">${esc(detail)}</p></div>`;
}

function comparisonCard(title: string, row: JudgedComparison, end: string): Card {
  const { verdict } = row;
  const pair = `${row.a} − ${row.b}, ${metricName(row.metric)}`;
  if (row.notTestable !== null) return { title, value: '–', detail: `${pair}: ${row.notTestable}`, verdict };
  const detail = `${pair} ${differenceInterval(row.ci, row.metric)}, ${end}`;
  return { title, value: difference(row.delta, row.metric), detail, verdict };
}

function pText(p: number): string {
  const text = pValue(p);
  return text.startsWith('<') ? text : `= ${text}`;
}

/** The colour behind the icon, or of the picture: what the denoiser reads first. Chosen beforehand, not for its result. */
function colourProbe({ rows }: RoleComparisons): JudgedComparison | undefined {
  return rows.find((r) => r.kind === 'family' && r.suite === 'probes' && r.a === 'aligned' && r.b === 'control');
}

/** One honest sentence or two, made of verdicts. */
export function inShort(comparisons: RoleComparisons): Html {
  const claims = comparisons.rows.filter((row) => row.kind !== 'context' && row.b === 'control');
  const testable = claims.filter((row) => row.verdict !== 'not-testable');
  if (testable.length === 0) {
    return '<p class="lead">Nothing in this run can carry a claim about feedback: no testable comparison of aligned with control was made.</p>';
  }
  const naming = (row: JudgedComparison) => row.suite !== 'probes';
  const sentence = (what: string, rows: JudgedComparison[]) => {
    if (rows.length === 0) return `${what} could not be tested.`;
    const count = (v: JudgedComparison['verdict']) => rows.filter((row) => row.verdict === v).length;
    if (count('better') + count('worse') === 0)
      return `${what}: no difference could be told in ${rows.length} testable comparisons.`;
    return `${what}: ${count('better')} better, ${count('worse')} worse, ${count('inconclusive')} inconclusive of ${rows.length} testable comparisons.`;
  };
  return (
    `<p class="lead">Feedback against the same steps without it. ${esc(sentence('Names', testable.filter(naming)))} ` +
    `${esc(
      sentence(
        'Details that captions never mention',
        testable.filter((row) => !naming(row)),
      ),
    )}</p>`
  );
}

/** Branches that a gate ended, so that nobody takes their last scores for those of the whole plan. */
export function stops(data: RunData): Html {
  return stoppedBranches(data)
    .map(
      ({ role, rounds, planned, reason }) =>
        `<p class="lead"><span class="key ${roleClass(role)}">${esc(role)}</span> was stopped after ${rounds} of ${planned} rounds: ${esc(reason)}.</p>`,
    )
    .join('');
}

export function howToRead(data: RunData, finals: Map<string, Scorecard>): Html {
  const resampled = data.recipe.data.kind === 'image-folder' ? 'pictures' : 'whole concepts';
  const some = [...finals.values()][0];
  const foils =
    some?.foils === 'seeded-random'
      ? 'No independent encoder was given, so wrong names are drawn at random: two-way scores are easier than they should be, and there is no adversarial split.'
      : 'Wrong names are the hardest ones of an independent encoder, trained from another seed, never of an encoder under test.';
  return (
    '<aside class="read"><h2>How to read this</h2><div>' +
    '<p><b>Compare aligned with control and with placebo, not with the baseline.</b> Control takes the same steps without feedback; placebo gets feedback from shuffled pairs at a matched gradient norm. What any further training brings, they bring too.</p>' +
    `<p><b>Split A rises under almost any change</b>, even under one that harms names elsewhere, because it is made of errors. ${esc(foils)} Read A beside its unfiltered twin and its top‑1.</p>` +
    '<p><b>Names are expected not to improve at this scale.</b> In a prototype, feedback moved what the denoiser reads, background colour above all, and left names where they were. An inconclusive result is not evidence that nothing changed.</p>' +
    `<p><b>Every number has its n and a 95 % interval</b> from ${some?.config.bootstrap ?? 0} resamples of ${resampled}. It holds the luck of the items, not that of the training seed: this is one seed per role. ` +
    'p is the exact McNemar test on items where two roles disagree (bootstrap for R²). Where the baseline is too near chance, or items are too few, a split is marked not testable and carries no verdict.</p></div></aside>'
  );
}
