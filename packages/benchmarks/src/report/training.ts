// The report's part on training: what each stage and branch did, its objective and terms over steps, and whether the
// denoiser uses the condition. Judging checkpoints is elsewhere.

import type { RunData, StageRun } from '../run-data.ts';
import { stagesOf } from '../run-data.ts';
import { stageSummaries } from '../summary.ts';
import { lineChart, type Series, thin } from './charts.ts';
import { esc, fixed, type Html, roleClass, seconds, signed } from './html.ts';

export function trainingSection(data: RunData): Html {
  const stages = stagesOf(data.rounds);
  if (stages.length === 0) return '<p class="quiet">No round of this run has trained anything.</p>';
  const charts = [...groupStages(stages)].flatMap(([, runs]) => stageCharts(runs));
  return (
    stageTable(data) +
    '<p class="quiet">Lines are means over runs of steps on the training pictures. Dots are the objective on one fixed probe batch at the ends of rounds. ' +
    'Objectives of different roles have different terms, so compare a role with itself, and roles only within one term.</p>' +
    `<div class="charts">${charts.join('')}${gapChart(stages)}</div>` +
    gradientTable(stages)
  );
}

/** Branches of one stage side by side, keyed by the stage's name and place. */
function groupStages(stages: StageRun[]): Map<string, StageRun[]> {
  const groups = new Map<string, StageRun[]>();
  for (const stage of stages) {
    const key = `${stage.name}/${stage.rounds[0].stageIndex ?? ''}/${stage.role === 'baseline' ? stages.indexOf(stage) : 'branch'}`;
    groups.set(key, [...(groups.get(key) ?? []), stage]);
  }
  return groups;
}

function stageTable(data: RunData): Html {
  const rows = stageSummaries(data).map(
    (s) =>
      `<tr><th scope="row">${esc(s.name)}</th><td><span class="key ${roleClass(s.role)}">${esc(s.role === 'baseline' ? 'start of all' : s.role)}</span></td>` +
      `<td class="num">${s.steps}</td><td class="num">${seconds(s.seconds)}</td><td class="num">${fixed(s.imagesPerSecond, s.imagesPerSecond < 10 ? 1 : 0)}</td>` +
      `<td class="num">${fixed(s.lossFirst, 4)}</td><td class="num">${fixed(s.lossLast, 4)}</td>` +
      `<td class="num">${s.conditionGap === null ? '–' : signed(s.conditionGap, 4)}</td></tr>`,
  );
  return (
    '<div class="scroll"><table><thead><tr><th>Stage</th><th>Role</th><th class="num">Steps</th><th class="num">Time</th><th class="num">Images/s</th>' +
    '<th class="num">Loss before</th><th class="num">Loss after</th><th class="num">Condition gap</th></tr></thead>' +
    `<tbody>${rows.join('')}</tbody></table></div>`
  );
}

function stageCharts(runs: StageRun[]): Html[] {
  const { name } = runs[0];
  const roles = runs.map((run) => run.role).join(', ');
  const charts = [
    lineChart({
      title: `${name}: objective`,
      description: `Training objective of stage ${name} over steps for ${roles}.`,
      x: 'step of the stage',
      series: runs.map((run) => ({
        label: run.role,
        role: run.role,
        points: curve(run, runs.length, (r) => r.loss),
        marks: probes(run),
      })),
    }),
  ];
  const terms = new Set(runs.flatMap((run) => run.rounds.flatMap((round) => Object.keys(round.metrics.terms))));
  if (terms.size < 2 && runs.length < 2) return charts;
  for (const term of terms) {
    const series = runs
      .map(
        (run): Series => ({
          label: run.role,
          role: run.role,
          points: curve(run, runs.length, (r) => r.terms[term] ?? []),
        }),
      )
      .filter((s) => s.points.length > 0);
    charts.push(
      lineChart({
        title: `${name}: ${term} term`,
        description: `Term ${term} of stage ${name} over steps for ${series.map((s) => s.label).join(', ')}.`,
        x: 'step of the stage',
        series,
      }),
    );
  }
  return charts;
}

type Metrics = StageRun['rounds'][number]['metrics'];

/** Means over runs of steps: coarser where lines lie on top of each other. */
function curve(run: StageRun, lines: number, values: (metrics: Metrics) => readonly number[]): [number, number][] {
  let first = 0;
  const flat: number[] = [];
  for (const { metrics } of run.rounds) {
    const part = values(metrics);
    // A term that a round lacks leaves a hole rather than shifting what follows.
    flat.push(...part, ...new Array(Math.max(0, metrics.steps - part.length)).fill(Number.NaN));
    first += metrics.steps;
  }
  return flat.every(Number.isNaN)
    ? []
    : thin(flat.slice(0, first), lines > 1 ? 50 : 120).filter(([, y]) => Number.isFinite(y));
}

function probes(run: StageRun): [number, number][] {
  let step = 0;
  const marks: [number, number][] = [[0, run.rounds[0].metrics.probe.before]];
  for (const { metrics } of run.rounds) {
    step += metrics.steps;
    marks.push([step, metrics.probe.after]);
  }
  return marks;
}

/** Shuffled minus matched feedback loss after each round; above zero the denoiser reads the condition. */
function gapChart(stages: StageRun[]): Html {
  const series = stages.flatMap((stage): Series[] => {
    const points = stage.rounds.flatMap(({ step, metrics }): [number, number][] =>
      metrics.probe.gap === null ? [] : [[step, metrics.probe.gap]],
    );
    return points.length === 0
      ? []
      : [{ label: stage.role === 'baseline' ? stage.name : stage.role, role: stage.role, points, marks: points }];
  });
  if (series.length === 0) return '';
  return lineChart({
    title: 'Condition gap per round',
    description: 'Shuffled minus matched feedback loss after each round, by role.',
    x: 'optimiser step of the run',
    series,
    zero: true,
  });
}

function gradientTable(stages: StageRun[]): Html {
  const modules = [...new Set(stages.flatMap((s) => s.rounds.flatMap((r) => Object.keys(r.metrics.gradNorm))))];
  if (modules.length === 0) return '';
  const rows = stages.map((stage) => {
    const last = stage.rounds[stage.rounds.length - 1].metrics.gradNorm;
    const cells = modules.map(
      (m) => `<td class="num">${last[m] === undefined ? '–' : Number(last[m]).toPrecision(3)}</td>`,
    );
    return `<tr><th scope="row">${esc(stage.name)}</th><td><span class="key ${roleClass(stage.role)}">${esc(stage.role === 'baseline' ? 'start of all' : stage.role)}</span></td>${cells.join('')}</tr>`;
  });
  return (
    '<details><summary>Mean gradient norm per module, last round of each stage</summary><div class="scroll"><table>' +
    `<thead><tr><th>Stage</th><th>Role</th>${modules.map((m) => `<th class="num">${esc(m)}</th>`).join('')}</tr></thead><tbody>${rows.join('')}</tbody></table></div></details>`
  );
}
