// Which drawings a suite gets, and the numbers in them: taken from its results, items and judged answers, never from its
// name. A suite without patterns, corruptions, confidences or yes/no questions gets none of those.

import { equalWidthBins, riskCoverage } from '../../metrics/calibration.ts';
import { dotPlot, lineChart } from '../../report/charts.ts';
import { esc, fixed, type Html } from '../../report/html.ts';
import type { JudgedRun, JudgedSuite } from '../judged-run.ts';
import type { Result } from '../result.ts';
import { heatMap, type PlanePoint, radar, reliability, yesNoPlane } from './plots.ts';
import { drawnMetrics, intervalText, isShare, metricName, roleOf, valueText } from './words.ts';

/** A suite as one of the report's runs answered it. */
export interface Answered {
  run: JudgedRun;
  /** Place of the run in the report. */
  at: number;
  suite: JudgedSuite;
}

/** Values with intervals of the suite's main metrics, by split, runs side by side. */
export function valueDots(answered: readonly Answered[]): Html {
  const suites = answered.map(({ suite }) => suite);
  const blocks = drawnMetrics(suites).flatMap((metric) => {
    const splits = [
      ...new Set(
        suites.flatMap(({ results }) =>
          results.filter((r) => r.metric === metric && !r.split.includes('/')).map((r) => r.split),
        ),
      ),
    ];
    // More splits than these are a table's matter.
    return splits.slice(0, 6).map((split) => dots(answered, metric, split));
  });
  return blocks.length === 0 ? '' : `<div class="pair">${blocks.join('')}</div>`;
}

function dots(answered: readonly Answered[], metric: string, split: string): Html {
  const found = answered.flatMap(({ run, at, suite }) => {
    const result = suite.results.find((r) => r.metric === metric && r.split === split && r.value !== null);
    return result ? [{ run, at, result }] : [];
  });
  if (found.length === 0) return '';
  const chance = found[0].result.chance;
  const texts = found.map(({ result }) => `${valueText(metric, result.value)} ${intervalText(metric, result.ci)}`);
  const share = isShare(metric);
  const plot = dotPlot({
    description: `${metricName(metric)} of ${split}: ${found.map(({ run }, i) => `${run.subject} ${texts[i]}`).join('; ')}`,
    dots: found.map(({ run, at, result }, i) => ({
      label: answered.length > 1 ? short(run.subject) : '',
      role: roleOf(at),
      value: result.value as number,
      ci: result.ci ? [result.ci.low, result.ci.high] : [result.value as number, result.value as number],
      text: texts[i],
    })),
    guide: chance === null ? null : { at: chance, label: 'chance' },
    format: (tick) =>
      share ? fixed(100 * tick, Number.isInteger(Math.round(1e6 * tick) / 1e4) ? 0 : 1) : fixed(tick, 2),
    width: 400,
    left: answered.length > 1 ? 116 : 12,
    minSpan: share ? 0.08 : 0.1,
    bounds: share ? [0, 1] : [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY],
  });
  const beside = [`n = ${found[0].result.n}`, ...(chance === null ? [] : [`chance ${valueText(metric, chance)}`])];
  return `<div><h4>${esc(split)}: ${esc(metricName(metric))} <span class="quiet">${esc(beside.join(', '))}</span></h4>${plot}</div>`;
}

const short = (name: string): string => (name.length > 16 ? `${name.slice(0, 15)}…` : name);

/** Everything else that the suite's data allow. */
export function suiteFigures(answered: readonly Answered[]): Html {
  const parts = [
    patterns(answered),
    ...answered.map(corruptions),
    plane(answered),
    ...answered.map(honesty),
    coverage(answered),
  ];
  const drawn = parts.filter((part) => part !== '');
  return drawn.length === 0 ? '' : `<div class="charts">${drawn.join('')}</div>`;
}

const PATTERN = /(?:^|\/)pattern\/(.+)$/;

function patterns(answered: readonly Answered[]): Html {
  const of = ({ results }: JudgedSuite, metric: string) =>
    results.flatMap((result) => {
      const axis = result.metric === metric && result.split.startsWith('pattern/') ? PATTERN.exec(result.split) : null;
      return axis ? [{ axis: axis[1], result }] : [];
    });
  const metric = ['pair-accuracy', 'accuracy'].find((name) => answered.some(({ suite }) => of(suite, name).length > 2));
  if (!metric) return '';
  const axes = [...new Set(answered.flatMap(({ suite }) => of(suite, metric).map(({ axis }) => axis)))];
  return radar({
    title: `By pattern: ${metricName(metric)}, %`,
    axes,
    chance: of(answered[0].suite, metric)[0]?.result.chance ?? null,
    runs: answered.map(({ run, at, suite }) => {
      const own = new Map(of(suite, metric).map(({ axis, result }) => [axis, result.value]));
      return { label: run.subject, at, values: axes.map((axis) => own.get(axis) ?? null) };
    }),
  });
}

/** Share that is right by corruption and severity, counted over the items that show a corrupted picture. */
function corruptions({ run, at, suite }: Answered): Html {
  const byId = new Map(suite.scored.map((row) => [row.itemId, row.correct]));
  const cells = new Map<string, { right: number; n: number }>();
  const rows = new Set<string>();
  for (const { id, pictures } of suite.items) {
    const { corruption } = pictures[0];
    if (!corruption) continue;
    rows.add(corruption.name);
    const key = `${corruption.name}/${corruption.severity}`;
    const cell = cells.get(key) ?? { right: 0, n: 0 };
    cells.set(key, { right: cell.right + (byId.get(id) ?? 0), n: cell.n + 1 });
  }
  if (rows.size === 0) return '';
  const severities = [1, 2, 3, 4, 5].filter((severity) => [...rows].some((name) => cells.has(`${name}/${severity}`)));
  const share = (name: string, severity: number) => {
    const cell = cells.get(`${name}/${severity}`);
    return cell ? cell.right / cell.n : null;
  };
  return heatMap({
    title: `Right under corruption, % · ${run.subject}`,
    at,
    rows: [...rows].map((name) => name.replaceAll('_', ' ')),
    columns: severities.map((severity) => `severity ${severity}`),
    values: [...rows].map((name) => severities.map((severity) => share(name, severity))),
  });
}

function plane(answered: readonly Answered[]): Html {
  const value = (results: readonly Result[], split: string, metric: string) =>
    results.find((r) => r.split === split && r.metric === metric && r.value !== null);
  const points = answered.flatMap(({ run, at, suite: { results } }) =>
    [...new Set(results.map((r) => r.split))].flatMap((split): PlanePoint[] => {
      const [ratio, sensitivity] = [value(results, split, 'yes-ratio'), value(results, split, 'd-prime')];
      if (!ratio || !sensitivity || split.includes('/')) return [];
      return [
        {
          label: run.subject,
          at,
          split,
          yesRatio: ratio.value as number,
          dPrime: sensitivity.value as number,
          ci: sensitivity.ci,
        },
      ];
    }),
  );
  if (points.length === 0) return '';
  const asked = answered[0].suite.items.filter(({ ask }) => ask.kind === 'yesno');
  const yes = asked.filter(({ ask }) => ask.kind === 'yesno' && ask.gold === 'yes').length;
  return yesNoPlane('Readiness to say yes, and sensitivity', points, asked.length === 0 ? 0.5 : yes / asked.length);
}

/** Confidences and outcomes of the answers that have one. */
export function confidencesOf({ scored }: JudgedSuite): { confidence: number[]; correct: number[] } {
  const known = scored.filter(
    ({ confidence, label }) => confidence !== null && label !== 'error' && label !== 'unknown',
  );
  return { confidence: known.map((row) => row.confidence as number), correct: known.map((row) => row.correct) };
}

function honesty({ run, at, suite }: Answered): Html {
  const { confidence, correct } = confidencesOf(suite);
  if (confidence.length < 20) return '';
  return reliability(`Confidence · ${run.subject}`, at, equalWidthBins(confidence, correct));
}

function coverage(answered: readonly Answered[]): Html {
  const series = answered.flatMap(({ run, at, suite }) => {
    const { confidence, correct } = confidencesOf(suite);
    if (confidence.length < 20) return [];
    const points = riskCoverage(confidence, correct);
    const step = Math.ceil(points.length / 200);
    const kept = points.filter((point, i) => i % step === 0 || point.coverage === 1);
    return [
      {
        label: run.subject,
        role: roleOf(at),
        points: kept.map(({ coverage: c, risk }): [number, number] => [100 * c, 100 * risk]),
      },
    ];
  });
  if (series.length === 0) return '';
  return lineChart({
    title: 'Wrong among the surest, %',
    description: `Share wrong when only the most confident answers are kept; at full coverage ${series.map((s) => `${s.label} ${fixed(s.points[s.points.length - 1][1], 1)} %`).join(', ')}.`,
    x: 'answers kept, %',
    series,
    zero: true,
  });
}
