// The report's part on levels: every split's score per role with its interval, probes, what could not be asked, and how
// scores moved from round to round. Differences between roles are in comparisons.ts.

import type { RunData } from '../run-data.ts';
import { METRICS, notTestable, resultOf, type Scorecard, type ScoreResult } from '../scorecard.ts';
import { dotPlot, lineChart, type Series } from './charts.ts';
import { esc, fixed, type Html, isShare, level, levelInterval, metricName, roleClass, splitName } from './html.ts';

/** Dots and intervals by split, roles side by side. */
export function scoresSection(finals: Map<string, Scorecard>): Html {
  const cards = [...finals.values()];
  if (cards.length === 0) return '<p class="quiet">No checkpoint was scored.</p>';
  const baseline = finals.get('baseline') ?? null;
  const keys: { suite: string; split: string }[] = [];
  for (const card of cards) {
    for (const { suite, split } of card.results) {
      const isOwn = suite === 'retention' || suite === 'robustvqa';
      if (isOwn && !keys.some((k) => k.suite === suite && k.split === split)) keys.push({ suite, split });
    }
  }
  keys.sort((a, b) => rank(a.split) - rank(b.split));
  return (
    keys.map(({ suite, split }) => splitBlock(cards, baseline, suite, split)).join('') +
    probeBlocks(cards) +
    omissions(cards)
  );
}

const ORDER = ['id', 'V2', 'R', 'A', 'A-unfiltered'];

function rank(split: string): number {
  const at = ORDER.indexOf(split.split('/')[0]);
  return (at < 0 ? ORDER.length : at) + (split.includes('/') ? 0.5 : 0);
}

const SPLIT_NOTES: Record<string, string> = {
  id: 'New scenes of the styles it was trained on: what alignment must not lose.',
  V2: 'Trained concepts, drawn anew by other hands.',
  R: 'A rendition never trained on.',
  A: 'Hard scenes that the independent encoder gets wrong.',
  'A-unfiltered': 'The same hard scenes, all of them.',
};

function splitBlock(cards: Scorecard[], baseline: Scorecard | null, suite: string, split: string): Html {
  const scored = cards.flatMap((card) => card.results.filter((r) => r.suite === suite && r.split === split));
  const [some] = scored;
  const reason = baseline === null ? null : notTestable(baseline, suite, split);
  const badge =
    reason === null
      ? ''
      : `<p><span class="pill tone-not-testable">not testable</span> <span class="quiet">${esc(reason)}</span></p>`;
  const plots = METRICS.map((metric) => {
    const results = cards.flatMap((card) => {
      const result = resultOf(card, suite, split, metric);
      return result ? [{ role: card.role, result }] : [];
    });
    if (results.length === 0) return '<div></div>';
    return `<div><h4>${esc(metricName(metric))} <span class="quiet">chance ${level(results[0].result.chance, metric)}</span></h4>${rolePlot(results, `${splitName(suite, split)}, ${metricName(metric)}`)}</div>`;
  });
  const errors = Math.max(...scored.map((r) => r.errors));
  return (
    `<section class="split"><div class="about"><h3>${esc(splitName(suite, split))}</h3><p class="quiet">${esc(SPLIT_NOTES[split.split('/')[0]] ?? '')}</p>` +
    `<p class="quiet">n = ${some.n} pictures, ${some.clusters} ${some.clusters === some.n ? 'resampled singly' : 'concepts'}${errors > 0 ? `; up to ${errors} without a finite feature, counted as wrong` : ''}</p>${badge}</div>${plots.join('')}</section>`
  );
}

function rolePlot(results: { role: string; result: ScoreResult }[], what: string): Html {
  const { metric, chance } = results[0].result;
  const share = isShare(metric);
  return dotPlot({
    description: `${what}: ${results.map(({ role, result }) => `${role} ${level(result.value, metric)} ${levelInterval(result.ci, metric)}`).join('; ')}`,
    dots: results.map(({ role, result }) => ({
      label: role,
      role,
      value: result.value,
      ci: result.ci,
      text: `${level(result.value, metric)} ${levelInterval(result.ci, metric)}`,
    })),
    guide: { at: chance, label: 'chance' },
    format: (tick) =>
      share
        ? `${fixed(100 * tick, Math.abs(tick * 100 - Math.round(tick * 100)) > 1e-9 ? 1 : 0)}`
        : String(Number(tick.toPrecision(3))).replace('-', '−'),
    minSpan: share ? 0.08 : 0.1,
    bounds: share ? [0, 1] : [Number.NEGATIVE_INFINITY, 1],
  });
}

function probeBlocks(cards: Scorecard[]): Html {
  const metrics = [
    ...new Set(cards.flatMap((card) => card.results.filter((r) => r.suite === 'probes').map((r) => r.metric))),
  ];
  if (metrics.length === 0) return '';
  const plots = metrics.map((metric) => {
    const results = cards.flatMap((card) => {
      const result = resultOf(card, 'probes', 'id', metric);
      return result ? [{ role: card.role, result }] : [];
    });
    const what = metric.slice(3);
    return `<div><h4>R² of ${esc(what)} <span class="quiet">n = ${results[0].result.n}</span></h4>${rolePlot(results, `R² of ${what}`)}</div>`;
  });
  return (
    '<section class="probes"><h3>Linear probes</h3><p class="quiet">What a ridge regression reads off the frozen features about things that no caption mentions. ' +
    'Fitted on one half, R² on the other; 0 is knowing nothing. Intervals hold the choice of test items, not the luck of the fit, so small differences deserve doubt.</p>' +
    `<div class="pair">${plots.join('')}</div></section>`
  );
}

function omissions(cards: Scorecard[]): Html {
  const lines = new Map<string, string>();
  for (const card of cards) {
    for (const { suite, split, reason } of card.omitted) {
      lines.set(`${suite}/${split}/${reason}`, `<li><b>${esc(suite)} · ${esc(split)}</b>: ${esc(reason)}.</li>`);
    }
  }
  return lines.size === 0 ? '' : `<section><h3>Not asked</h3><ul>${[...lines.values()].join('')}</ul></section>`;
}

const TRAJECTORIES = [
  ['retention', 'id', 'top1'],
  ['robustvqa', 'V2', 'top1'],
  ['robustvqa', 'A', 'twoway'],
  ['probes', 'id', 'r2-background'],
  ['probes', 'id', 'r2-colour'],
] as const;

/** How scores moved over the rounds; empty when no role was scored more than once. */
export function trajectoriesSection(scorecards: RunData['scorecards']): Html {
  const roles = [...new Set(scorecards.map((entry) => entry.scorecard.role))].filter((role) => role !== 'baseline');
  if (!roles.some((role) => scorecards.filter((entry) => entry.scorecard.role === role).length > 1)) return '';
  const start = scorecards.find((entry) => entry.scorecard.role === 'baseline')?.scorecard;
  const charts = TRAJECTORIES.map(([suite, split, metric]) => {
    const scale = isShare(metric) ? 100 : 1;
    const series = roles.map((role): Series => {
      const own = scorecards.filter((entry) => entry.scorecard.role === role).sort((a, b) => a.round - b.round);
      const points = own.flatMap(({ round, scorecard }): [number, number][] => {
        const result = resultOf(scorecard, suite, split, metric);
        return result ? [[round + 1, scale * result.value]] : [];
      });
      const first = start && resultOf(start, suite, split, metric);
      if (first && points.length > 0) points.unshift([0, scale * first.value]);
      return { label: role, role, points, marks: points };
    });
    const title = `${splitName(suite, split, metric)}: ${metricName(metric)}${scale === 100 ? ', %' : ''}`;
    return lineChart({
      title,
      description: `${title} after each round, by role.`,
      x: 'rounds of alignment',
      series: series.filter((s) => s.points.length > 0),
      integers: true,
    });
  });
  return (
    '<p class="quiet">Points without intervals: the last ones stand with theirs among the scorecards.</p>' +
    `<div class="charts">${charts.join('')}</div>`
  );
}

/** The roles and the checkpoints that stand for them. */
export function rolesTable(finals: Map<string, Scorecard>, data: RunData, notes: Record<string, string>): Html {
  const rows = [...finals].map(([role, card]) => {
    const round = data.rounds.find((r) => r.checkpoint === card.checkpoint);
    return (
      `<tr><th scope="row"><span class="key ${roleClass(role)}">${esc(role)}</span></th><td>${esc(notes[role] ?? '')}</td>` +
      `<td class="num">${round ? round.step : '–'}</td><td><code title="${esc(card.checkpoint)}">${esc(card.checkpoint.slice(0, 12))}</code></td></tr>`
    );
  });
  return `<div class="scroll"><table><thead><tr><th>Role</th><th>What it is</th><th class="num">Step</th><th>Checkpoint</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
}
