import { beforeAll, describe, expect, it } from 'vitest';
import { compareRuns } from '../compare.ts';
import { judgeGates, parseGates } from '../gate.ts';
import type { JudgedRun } from '../judged-run.ts';
import { CORRUPTIONS, PATTERNS, sampleRun } from '../testing-judged.ts';
import { evalMarkdown } from './markdown.ts';
import { heatMap, radar, reliability, yesNoPlane } from './plots.ts';
import { type EvalReport, renderEvalReport, resultLines } from './report.ts';
import { errorsByKind } from './taxonomy.ts';

const quick = { count: 300, seed: 1 };
const EVIL = '<script>alert("x")</script>&\'"|`';
let alone: EvalReport;
let both: EvalReport;

beforeAll(() => {
  const tuned = sampleRun('tuned', { seed: 2, skill: 2.4, lean: 0 });
  const base = sampleRun('base', { seed: 3, skill: 1.6, lean: 0.3 });
  alone = { runs: [tuned] };
  both = {
    runs: [tuned, base],
    comparisons: compareRuns([tuned], base, quick),
    gates: judgeGates(
      parseGates('gates: [{suite: emoji-pope}, {suite: emoji-pairs, metric: pair-accuracy, maxDrop: 0}]', 'g'),
      tuned,
      () => base,
      quick,
    ),
  };
});

const VOID = new Set(['meta', 'br', '!doctype']);

/** Walks every tag: attributes quoted, everything closed in order. */
function walk(html: string): void {
  const open: string[] = [];
  const body = html.replace(/<style>[^<]*<\/style>/, '');
  for (const [tag] of body.matchAll(/<[^>]*>/g)) {
    const match = /^<(\/?)([!a-z][a-z0-9]*)((?:\s+[a-zA-Z][a-zA-Z0-9-]*(?:="[^"<>]*")?)*)\s*(\/?)>$/.exec(tag);
    if (!match) throw new Error(`malformed tag ${tag}`);
    const [, closing, name, , self] = match;
    if (closing) expect(open.pop()).toBe(name);
    else if (!self && !VOID.has(name)) open.push(name);
  }
  expect(open).toEqual([]);
  expect(body.replace(/<[^>]*>/g, '')).not.toMatch(/[<>]|&(?!amp;|lt;|gt;|quot;|#39;)/);
}

describe('the page', () => {
  it('is well formed, loads nothing, runs nothing, and is the same for the same data', () => {
    for (const report of [alone, both]) {
      const html = renderEvalReport(report);
      walk(html);
      expect(html).not.toMatch(/<script|<link|<iframe|<object|<img|\son[a-z]+=|@import|https?:|url\(/i);
      expect(html).not.toMatch(/NaN|undefined|\[object|Infinity/);
      expect(html).toContain("default-src 'none'");
      expect(renderEvalReport(report)).toBe(html);
    }
  });

  it('names every drawing for those who cannot see it', () => {
    const html = renderEvalReport(both);
    const drawings = [...html.matchAll(/<svg [^>]*>/g)].map(([tag]) => tag);
    expect(drawings.length).toBeGreaterThan(12);
    for (const tag of drawings) expect(tag).toMatch(/role="img" aria-label="[^"]{10,}"|aria-hidden="true"/);
    expect(html.match(/<h1>/g)).toHaveLength(1);
  });

  it('draws what the data have: patterns, corruptions, confidence, readiness', () => {
    const html = renderEvalReport(both);
    for (const pattern of PATTERNS) expect(html).toContain(pattern.split(' ')[0]);
    for (const name of CORRUPTIONS) expect(html).toContain(name.replaceAll('_', ' '));
    expect(html).toMatch(/Confidence · tuned, ECE 0\.\d{3}/);
    expect(html).toContain('Readiness to say yes, and sensitivity');
    expect(html).toContain('Wrong among the surest');
  });

  it('gives every number its n, its unknowns and its errors, and every difference its b, c, p and Holm’s p', () => {
    const html = renderEvalReport(both);
    const { unknown, errors, n } = both.runs[0].suites[0].results[0];
    expect(unknown).toBeGreaterThan(0);
    expect(html).toContain(`<td class="num">${n}</td>`);
    expect(html).toContain(`<td class="num">${unknown}</td><td class="num">${errors}</td>`);
    const row = both.comparisons?.rows.find((r) => r.metric === 'pair-accuracy' && r.suite === 'emoji-pairs');
    expect(html).toContain(`${row?.wins} / ${row?.losses}<br>`);
    expect(html).toContain('p, Holm');
    expect(html).toMatch(/detectable: \d/);
  });

  it('says what speaks against it', () => {
    const html = renderEvalReport(alone);
    expect(html).toContain('6 of 720 negatives are random');
    expect(html).toContain('not asked: frost, because its textures are not given.');
    expect(html).toMatch(/answers \(\d\.\d %\) were not understood/);
    expect(html).toContain('Nothing was compared');
    expect(
      renderEvalReport({ runs: [{ ...alone.runs[0], incomplete: [{ suite: 'x', reason: '3 of 9 answers' }] }] }),
    ).toContain('not scored, because it is incomplete: 3 of 9 answers.');
  });

  it('prints what it is given as text, whatever it holds', () => {
    const [run] = alone.runs;
    const [first, ...rest] = run.suites;
    const evil: JudgedRun = {
      ...run,
      subject: EVIL,
      identity: { [EVIL]: EVIL },
      suites: [
        {
          ...first,
          manifest: { ...first.manifest, title: EVIL, notes: [EVIL] },
          results: first.results.map((r) => ({ ...r, split: EVIL })),
        },
        ...rest,
      ],
    };
    walk(renderEvalReport({ runs: [evil] }));
    const markdown = evalMarkdown({ runs: [evil] });
    // A code span shows what it holds; everywhere else a tag is escaped.
    expect(markdown.replace(/`[^`\n]*`/g, '')).not.toMatch(/(?<!\\)<script/);
    expect(markdown).toContain('\\|');
  });

  it('stands without suites, results or items', () => {
    const [run] = alone.runs;
    walk(renderEvalReport({ runs: [{ ...run, suites: [] }] }));
    const empty = run.suites.map((suite) => ({ ...suite, results: [], items: [], scored: [] }));
    const html = renderEvalReport({ runs: [{ ...run, suites: empty }] });
    walk(html);
    expect(html).not.toMatch(/NaN|undefined|Infinity/);
    expect(evalMarkdown({ runs: [{ ...run, suites: empty }] })).not.toMatch(/NaN|undefined|Infinity/);
  });
});

describe('Markdown and lines', () => {
  it('holds every result and every difference', () => {
    const markdown = evalMarkdown(both);
    const rows = both.runs[0].suites.reduce((sum, { results }) => sum + results.length, 0);
    expect(markdown.match(/^\| /gm)?.length).toBeGreaterThan(rows + (both.comparisons?.rows.length ?? 0));
    expect(markdown).toContain('| Suite | Split | Metric |');
    expect(markdown).not.toMatch(/NaN|undefined|Infinity|\u00a0/);
    // Every table has as many cells in each row as in its head.
    for (const block of markdown
      .trimEnd()
      .split('\n\n')
      .filter((part) => part.startsWith('| '))) {
      const widths = block.split('\n').map((line) => line.replace(/\\\|/g, '').split('|').length);
      expect(new Set(widths).size).toBe(1);
    }
  });

  it('writes each result as a line of JSON with its run', () => {
    const lines = resultLines(both)
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const results = both.runs.flatMap((run) => run.suites.flatMap((suite) => suite.results));
    expect(lines.filter((line) => line.runKey)).toHaveLength(results.length);
    expect(lines.filter((line) => line.verdict !== undefined)).toHaveLength(both.comparisons?.rows.length ?? 0);
    expect(lines[0]).toEqual({ runKey: both.runs[0].key, ...results[0] });
  });
});

describe('errors by kind', () => {
  it('counts every question once, where it belongs', () => {
    const [run] = alone.runs;
    const table = errorsByKind(run.suites);
    const asked = Object.values(table).flatMap((row) => Object.values(row).map((cell) => cell.asked));
    expect(asked.reduce((a, b) => a + b, 0)).toBe(run.suites.reduce((sum, { items }) => sum + items.length, 0));
    // Three patterns are about relations, five about attributes, one about objects; thirty statements each.
    expect(table.judgement.relation.asked).toBe(90);
    expect(table.judgement.attribute.asked).toBe(150);
    expect(table.description.object.asked).toBe(0);
    const wrong = run.suites.flatMap(({ scored }) => scored).filter((row) => row.correct === 0).length;
    expect(Object.values(table.judgement).reduce((sum, cell) => sum + cell.wrong, 0)).toBe(wrong);
  });
});

describe('drawings', () => {
  const run = { label: 'a', at: 0 };

  it('puts a share on its spoke of the radar', () => {
    const svg = radar({
      title: 'r',
      axes: ['up', 'right', 'down', 'left'],
      runs: [{ ...run, values: [1, 0.5, 0, null] }],
      chance: 0.25,
    });
    // Centre (280, 186), radius 122: up at the rim, right half-way, down in the middle, left unknown.
    expect(svg).toContain('d="M280 64L341 186L280 186Z"');
    expect(svg).toContain('left none');
  });

  it('writes each cell’s number and leaves a gap where nothing was asked', () => {
    const svg = heatMap({ title: 'h', at: 0, rows: ['fog'], columns: ['1', '2'], values: [[0.126, null]] });
    expect(svg).toMatch(/>13<\/text>/);
    expect(svg.match(/<rect/g)).toHaveLength(1);
  });

  it('draws honest confidence on the diagonal', () => {
    const svg = reliability('c', 0, [{ low: 0.5, high: 0.6, n: 4, confidence: 0.55, accuracy: 0.55 }]);
    const gap = /class="gap" x1="([\d.]+)" x2="\1" y1="([\d.]+)" y2="\2"/;
    expect(svg).toMatch(gap);
    expect(svg).toContain('ECE 0.000');
  });

  it('keeps every point of the plane inside', () => {
    const point = (yesRatio: number, dPrime: number) => ({ label: 'a', at: 0, split: 's', yesRatio, dPrime, ci: null });
    const svg = yesNoPlane('p', [point(0, -1), point(1, 4)], 0.5);
    for (const [, x, y] of svg.matchAll(/<circle class="dot" cx="([\d.]+)" cy="([\d.]+)"/g)) {
      expect(Number(x)).toBeGreaterThanOrEqual(52);
      expect(Number(x)).toBeLessThanOrEqual(504);
      expect(Number(y)).toBeGreaterThanOrEqual(12);
      expect(Number(y)).toBeLessThanOrEqual(258);
    }
  });
});
