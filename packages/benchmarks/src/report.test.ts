import type { EvalGate } from '@fovea/recipe';
import { beforeAll, describe, expect, it } from 'vitest';
import { failedGate, stoppedBranches } from './branch-gates.ts';
import { yamlText } from './report/back.ts';
import { dotPlot, lineChart, niceAxis, thin } from './report/charts.ts';
import { difference, esc, fixed, level, pValue, seconds } from './report/html.ts';
import { renderReport } from './report.ts';
import { finalScorecards, type RunData, stagesOf } from './run-data.ts';
import { scorePlan } from './score.ts';
import { buildSummary, summarySchema } from './summary.ts';
import { drawnPlan, drawnSubject, evalConfig } from './testing.ts';
import { checkpointId, pngUri, runRecipe, sampleRounds, sampleRun } from './testing-run.ts';

let data: RunData;
const EVIL = '<script>alert("x")</script>&\'"';

beforeAll(async () => {
  const plan = drawnPlan();
  const picture = new Float32Array(3 * 144);
  await plan.render(0, 1, picture);
  const scorecards: RunData['scorecards'] = [];
  const score = async (
    track: string,
    role: string,
    round: number,
    seed: number,
    weight?: (input: number) => number,
  ) => {
    const subject = await drawnSubject(seed, 24, weight);
    const request = {
      plan,
      subject,
      checkpoint: checkpointId(track, round),
      role,
      eval: evalConfig,
      suites: evalConfig.suites,
    };
    scorecards.push({ round, scorecard: await scorePlan(request) });
  };
  await score('trunk', 'baseline', 6, 1);
  for (const round of [0, 2]) {
    await score('aligned', 'aligned', round, 1, (input) => (input < 36 ? 1 + 0.1 * round : 1));
    await score('control', 'control', round, 1, (input) => (input < 36 ? 1 : 0.3));
    await score('placebo', 'placebo', round, 2);
  }
  data = sampleRun(scorecards, [[pngUri(picture, 12), pngUri(picture, 12), pngUri(picture, 12)]]);
});

const VOID = new Set(['meta', 'img', '!doctype']);

/** Walks every tag: attributes quoted, names known, everything closed in order. Gives the element count. */
function walk(html: string): number {
  const open: string[] = [];
  let elements = 0;
  const body = html.replace(/<style>[^<]*<\/style>/, '');
  for (const [tag] of body.matchAll(/<[^>]*>/g)) {
    const match = /^<(\/?)([!a-z][a-z0-9]*)((?:\s+[a-zA-Z][a-zA-Z0-9-]*(?:="[^"<>]*")?)*)\s*(\/?)>$/.exec(tag);
    if (!match) throw new Error(`malformed tag ${tag}`);
    const [, closing, name, , self] = match;
    if (closing) expect(open.pop()).toBe(name);
    else {
      elements++;
      if (!self && !VOID.has(name)) open.push(name);
    }
  }
  expect(open).toEqual([]);
  // What is left is text: no stray angle brackets, every ampersand an entity.
  const text = body.replace(/<[^>]*>/g, '');
  expect(text).not.toMatch(/[<>]|&(?!amp;|lt;|gt;|quot;|#39;)/);
  return elements;
}

describe('gates', () => {
  const gatesOn = (gate: Partial<EvalGate>): RunData => ({
    ...data,
    recipe: {
      ...data.recipe,
      eval: { ...data.recipe.eval, gates: [{ suite: 'retention', metric: 'top1', maxDrop: 1, ...gate }] },
    },
    // A plan with a round more than was trained, as of a branch that ended early.
    rounds: data.rounds.filter(({ track, round }) => track === 'trunk' || round < 2),
  });

  it('says which branch was stopped, after how many rounds, and why', () => {
    const stopped = stoppedBranches(gatesOn({}));
    expect(stopped.map(({ role }) => role)).toEqual(['placebo']);
    const html = renderReport(gatesOn({}));
    walk(html);
    expect(html).toMatch(
      /placebo<\/span> was stopped after 2 of \d rounds: retention, In distribution, top-1 changed by −/,
    );
    expect(renderReport(gatesOn({ maxDrop: 100 }))).not.toContain('was stopped');
    expect(renderReport(data)).not.toContain('was stopped');
  });

  it('fails a probe’s gate in its own unit, and refuses what was not scored', () => {
    const finals = finalScorecards(data.scorecards);
    const [control, baseline] = ['control', 'baseline'].map((role) => finals.get(role)!);
    const gate = { suite: 'probes' as const, metric: 'r2-background', maxDrop: 1 };
    expect(failedGate(control, baseline, [gate])).toMatch(
      /changed by −0\.\d+ \[.*more than the 0\.01 that may be lost/,
    );
    expect(failedGate(baseline, baseline, [gate])).toBeNull();
    expect(() => failedGate(control, baseline, [{ ...gate, metric: 'r2-none' }])).toThrow(/finds no such scores/);
  });
});

describe('report', () => {
  it('is a well-formed page that loads nothing and runs nothing', () => {
    const html = renderReport(data);
    expect(html.startsWith('<!doctype html>')).toBe(true);
    expect(walk(html)).toBeGreaterThan(300);
    expect(html).not.toMatch(/<script|<link|<iframe|<object|\son[a-z]+=|@import|https?:|url\(/i);
    expect([...html.matchAll(/\ssrc="([^"]*)"/g)].every(([, src]) => src.startsWith('data:image/png;base64,'))).toBe(
      true,
    );
    expect(html).not.toMatch(/NaN|undefined|\[object|Infinity/);
    expect(html).toContain('prefers-color-scheme: dark');
    expect(renderReport(data)).toBe(html);
  });

  it('shows every part with its words', () => {
    const html = renderReport(data);
    const parts = [
      'How to read this',
      'Roles',
      'Differences between roles',
      'Scorecards',
      'Scores over the rounds',
      'Pictures from the condition',
      'Training',
      'Recipe',
      'Licences',
    ];
    for (const part of parts) expect(html).toContain(`<h2>${part}</h2>`);
    for (const words of [
      /not with the baseline/,
      /A rises under almost any change/,
      /expected not to improve/,
      /95 % interval/,
      /not testable/,
    ]) {
      expect(html).toMatch(words);
    }
    expect(html).toContain('align: feedback term');
    expect(html).toContain('Condition gap per round');
    expect(html).toMatch(/The family is every testable comparison .* \d+ tests/);
    expect(html).toContain('168 items, fewer than 300');
    expect(html).toContain('kind: emoji-world');
    expect(html).toContain('CC-BY-SA-4.0');
  });

  it('escapes whatever a user may have written', () => {
    const evil: RunData = structuredClone(data);
    evil.run = EVIL;
    evil.recipeText = `name: ${EVIL}`;
    evil.licences[0].author = EVIL;
    evil.reconstructions!.rows[0].caption = EVIL;
    evil.reconstructions!.note = EVIL;
    evil.rounds[3].metrics.terms = { [EVIL]: [1, 2, 3], other: [1, 2, 3] };
    evil.rounds[3].metrics.gradNorm = { [EVIL]: 1 };
    for (const { scorecard } of evil.scorecards) {
      scorecard.omitted.push({ suite: 'robustvqa', split: EVIL, reason: EVIL });
      scorecard.results.push({ ...scorecard.results[0], suite: 'robustvqa', split: `R/${EVIL}` });
    }
    const html = renderReport(evil);
    expect(html).not.toContain('<script');
    expect(html).toContain('&lt;script&gt;');
    walk(html);
  });

  it('refuses a picture that is not a PNG data URI', () => {
    const bad = (uri: string) => {
      const copy = structuredClone(data);
      copy.reconstructions!.rows[0].images[1] = uri;
      return () => renderReport(copy);
    };
    expect(bad('https://example.org/a.png')).toThrow(/not a base64 PNG/);
    expect(bad('data:image/svg+xml;base64,AAAA')).toThrow(/not a base64 PNG/);
    expect(bad('data:image/png;base64,AA" onload="x')).toThrow(/not a base64 PNG/);
  });

  it('says what is missing in a run that has hardly begun', () => {
    const html = renderReport({
      ...data,
      rounds: [],
      scorecards: [],
      reconstructions: null,
      licences: [],
      status: 'failed',
    });
    walk(html);
    expect(html).toContain('No checkpoint was scored.');
    expect(html).toContain('No baseline was scored, so nothing is compared.');
    expect(html).toContain('made no reconstructions');
    expect(html).not.toMatch(/NaN|undefined/);
  });
});

describe('summary', () => {
  it('has exactly the promised fields', () => {
    const summary = buildSummary(data);
    expect(Object.keys(summary)).toEqual([
      'run',
      'recipe',
      'status',
      'stages',
      'checkpoints',
      'evals',
      'comparisons',
      'report',
    ]);
    expect(Object.keys(summary.stages[0])).toEqual([
      'name',
      'role',
      'steps',
      'seconds',
      'imagesPerSecond',
      'lossFirst',
      'lossLast',
      'conditionGap',
    ]);
    expect(Object.keys(summary.checkpoints[0])).toEqual(['id', 'step', 'stage', 'role']);
    expect(Object.keys(summary.evals[0])).toEqual([
      'suite',
      'split',
      'checkpoint',
      'role',
      'metric',
      'value',
      'n',
      'ci',
    ]);
    expect(Object.keys(summary.comparisons[0])).toEqual([
      'suite',
      'split',
      'metric',
      'a',
      'b',
      'delta',
      'ci',
      'p',
      'n',
    ]);
    expect(summarySchema.parse(JSON.parse(JSON.stringify(summary)))).toEqual(summary);
    expect(() => summarySchema.parse({ ...summary, extra: 1 })).toThrow();
  });

  it('takes losses from the fixed probe batch and the gap from the last round', () => {
    const { stages, checkpoints } = buildSummary(data);
    expect(stages.map((s) => `${s.name}/${s.role}/${s.steps}`)).toEqual([
      'pretrain/baseline/1200',
      'projector/baseline/600',
      'align/aligned/300',
      'align/control/300',
      'align/placebo/300',
    ]);
    const projector = data.rounds.filter((r) => r.stage === 'projector');
    expect(stages[1]).toMatchObject({
      lossFirst: projector[0].metrics.probe.before,
      lossLast: projector[2].metrics.probe.after,
      conditionGap: projector[2].metrics.probe.gap,
    });
    expect(stages[0].conditionGap).toBeNull();
    expect(stages[1].imagesPerSecond).toBeCloseTo(64 / 0.14, 9);
    expect(checkpoints).toHaveLength(16);
    expect(checkpoints[0]).toEqual({ id: checkpointId('trunk', 0), step: 0, stage: 'init', role: 'baseline' });
    expect(checkpoints[15]).toMatchObject({ step: 2100, stage: 'align', role: 'placebo' });
  });

  it('lists every score, and only comparisons that can carry a claim', () => {
    const { evals, comparisons } = buildSummary(data);
    expect(evals).toHaveLength(7 * 6);
    expect(new Set(evals.map((e) => e.role))).toEqual(new Set(['baseline', 'aligned', 'control', 'placebo']));
    expect(comparisons.length).toBeGreaterThan(10);
    expect(comparisons.some((row) => row.suite === 'robustvqa')).toBe(false);
    expect(new Set(comparisons.map((row) => `${row.a}-${row.b}`)).size).toBe(6);
  });
});

describe('run data', () => {
  it('keeps two stages of one kind apart and orders rounds', () => {
    const [first] = sampleRounds().filter((r) => r.stage === 'projector');
    const again = { ...first, round: first.round + 1, stageIndex: 5 };
    expect(stagesOf([again, first]).map((s) => s.rounds[0].stageIndex)).toEqual([1, 5]);
  });

  it('takes each role’s last scorecard, baseline first', () => {
    const finals = finalScorecards([...data.scorecards].reverse());
    expect([...finals.keys()]).toEqual(['baseline', 'aligned', 'control', 'placebo']);
    expect(finals.get('aligned')!.checkpoint).toBe(checkpointId('aligned', 2));
  });
});

describe('drawings', () => {
  it('choose round axes that cover the data', () => {
    expect(niceAxis(0, 1)).toEqual({ low: 0, high: 1, ticks: [0, 0.2, 0.4, 0.6, 0.8, 1] });
    expect(niceAxis(0.013, 0.047, 4).ticks).toEqual([0.01, 0.02, 0.03, 0.04, 0.05]);
    for (const [low, high] of [
      [3, 3],
      [0, 0],
      [-7.3, 1e6],
      [1e-9, 3e-9],
    ]) {
      const axis = niceAxis(low, high);
      expect(axis.low).toBeLessThanOrEqual(low);
      expect(axis.high).toBeGreaterThanOrEqual(high);
    }
  });

  it('stay inside their box, intervals clipped', () => {
    const dots = [{ label: 'a', role: 'aligned', value: 0.99, ci: [0.9, 1] as const, text: 'x' }];
    const svg = dotPlot({
      description: 'd',
      dots,
      guide: { at: 0.5, label: 'chance' },
      format: String,
      minSpan: 0.1,
      bounds: [0, 1],
    });
    const xs = [...svg.matchAll(/\b(?:x1|x2|cx)="(-?[\d.]+)"/g)].map(([, x]) => Number(x));
    expect(Math.min(...xs)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...xs)).toBeLessThanOrEqual(460);
  });

  it('draw nothing from nothing and skip what is not finite', () => {
    expect(lineChart({ title: 't', description: 'd', x: 'x', series: [] })).toBe('');
    const points: [number, number][] = [
      [0, 1],
      [1, Number.NaN],
      [2, 3],
    ];
    const svg = lineChart({ title: 't', description: 'd', x: 'x', series: [{ label: 'a', role: 'aligned', points }] });
    expect(svg).not.toContain('NaN');
  });

  it('thin long curves to means', () => {
    expect(thin([1, 3, 5, 7, 9], 3)).toEqual([
      [2, 2],
      [4, 6],
      [5, 9],
    ]);
    expect(
      thin(
        Array.from({ length: 10_000 }, () => 1),
        120,
      ).length,
    ).toBeLessThanOrEqual(120);
  });
});

describe('words', () => {
  it('are safe and readable', () => {
    expect(esc(`a<b>&"'\u0000\u0007`)).toBe('a&lt;b&gt;&amp;&quot;&#39;');
    expect(fixed(-0.0001, 2)).toBe('0.00');
    expect(level(0.4712, 'top1')).toBe('47.1\u00a0%');
    expect(level(-0.051, 'r2-x')).toBe('−0.05');
    expect(difference(0.0131, 'top1')).toBe('+1.3\u00a0pp');
    expect(pValue(0.0002)).toBe('< 0.001');
    expect(seconds(441.4)).toBe('7 min 21 s');
    expect(seconds(119.7)).toBe('2 min 00 s');
  });

  it('print a recipe as YAML', () => {
    const text = yamlText({
      a: 'x',
      b: { c: [1, 'two words'], d: null, e: {} },
      f: [{ g: 'yes', h: [0.5, 1] }, { g: 'http://x' }],
    });
    expect(text.split('\n')).toEqual([
      'a: x',
      'b:',
      '  c: [1, "two words"]',
      '  d: null',
      '  e: {}',
      'f:',
      '  - g: "yes"',
      '    h: [0.5, 1]',
      '  - g: "http://x"',
    ]);
    expect(yamlText(runRecipe)).toContain('stages:\n  - stage: pretrain\n    steps: 1200');
  });
});
