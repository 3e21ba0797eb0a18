import { describe, expect, it } from 'vitest';
import { mcnemarExact } from '../statistics.ts';
import type { Item } from '../suite/item.ts';
import { type Scored, scoredSchema } from './answer.ts';
import { compareRuns } from './compare.ts';
import { judgeGates, parseGates } from './gate.ts';
import type { JudgedRun, JudgedSuite } from './judged-run.ts';
import { answer, manifestOf, runOf, yesNoItems } from './testing-judged.ts';

const suiteOf = (items: Item[], scored: Scored[], name = 'questions'): JudgedSuite => ({
  manifest: manifestOf(name, 'pope', 'Questions', items),
  items,
  scored,
  results: [],
});

/** Answers each item with a word of the test's choice. */
function said(items: Item[], say: (item: Item) => string): Scored[] {
  return items.map((item) => {
    const label = say(item);
    const right = item.ask.kind === 'yesno' && item.ask.gold === label;
    return scoredSchema.parse({ itemId: item.id, label, rule: 'test', correct: right ? 1 : 0 });
  });
}

const noisy = (items: Item[], seed: number, skill: number, lean: number) => answer(items, { seed, skill, lean });

const quick = { count: 1000, seed: 1 };
const items = yesNoItems(200);

describe('comparing runs', () => {
  it('finds nothing between equal answers, and cannot tell what it would have found', () => {
    const suite = suiteOf(items, noisy(items, 2, 2, 0));
    const { rows } = compareRuns([runOf('a', suite)], runOf('b', suite), quick);
    const row = rows.find((r) => r.metric === 'accuracy');
    expect(row).toMatchObject({ delta: 0, ci: [0, 0], wins: 0, losses: 0, p: 1, detectable: null });
    for (const { verdict } of rows) expect([null, 'inconclusive']).toContain(verdict);
  });

  it('tells a better subject, in accuracy and in d′', () => {
    const [a, b] = [noisy(items, 2, 3, 0), noisy(items, 3, 1.5, 0)];
    const { rows, family } = compareRuns([runOf('a', suiteOf(items, a))], runOf('b', suiteOf(items, b)), quick);
    const by = (metric: string) => rows.find((r) => r.metric === metric)!;
    const wins = a.filter((row, i) => row.correct > b[i].correct).length;
    const losses = a.filter((row, i) => row.correct < b[i].correct).length;
    expect(by('accuracy')).toMatchObject({ verdict: 'better', shift: 'sensitivity', wins, losses, n: 1200 });
    expect(by('accuracy')).toMatchObject({ clusters: 200, test: 'permutation', mcnemar: mcnemarExact(wins, losses) });
    expect(by('accuracy').delta).toBeCloseTo((wins - losses) / 1200, 12);
    expect(by('accuracy').pAdjusted).toBe(by('accuracy').p);
    expect(by('d-prime').verdict).toBe('better');
    expect(by('criterion').verdict).toBeNull();
    expect(family).toContain('1 test,');
  });

  it('joins by id, in whatever order rows come', () => {
    const [a, b] = [noisy(items, 2, 3, 0), noisy(items, 3, 1.5, 0)];
    const [there, mixed] = [a, [...a].reverse()].map(
      (rows) => compareRuns([runOf('a', suiteOf(items, rows))], runOf('b', suiteOf(items, b)), quick).rows,
    );
    expect(mixed).toEqual(there);
  });

  it('is antisymmetric', () => {
    const [a, b] = [2, 3].map((seed) => runOf(`run-${seed}`, suiteOf(items, noisy(items, seed, seed, 0))));
    const [there, back] = [compareRuns([a], b, quick).rows, compareRuns([b], a, quick).rows];
    there.forEach((row, i) => {
      expect(back[i].delta).toBeCloseTo(-row.delta, 12);
      expect(back[i].ci[0]).toBeCloseTo(-row.ci[1], 12);
      expect([back[i].wins, back[i].p]).toEqual([row.losses, row.p]);
    });
  });

  it('calls a gain by readiness alone a threshold shift, not better', () => {
    // The baseline leans to no so far that accuracy suffers; the other answers by the same evidence without the lean.
    const many = yesNoItems(600);
    const [a, b] = [noisy(many, 2, 2, 0), noisy(many, 2, 2, -1)];
    const { rows } = compareRuns([runOf('a', suiteOf(many, a))], runOf('b', suiteOf(many, b)), quick);
    const row = rows.find((r) => r.metric === 'accuracy')!;
    expect(row.ci[0]).toBeGreaterThan(0);
    expect(row).toMatchObject({ shift: 'threshold', verdict: 'inconclusive', note: expect.stringContaining('d′') });
    const worse = compareRuns([runOf('b', suiteOf(many, b))], runOf('a', suiteOf(many, a)), quick).rows;
    expect(worse.find((r) => r.metric === 'accuracy')).toMatchObject({ shift: 'threshold', verdict: 'worse' });
  });

  it('counts an answer that was not understood as neither yes nor no', () => {
    const silent = said(items, () => 'unknown');
    const right = said(items, (item) => (item.ask as { gold: string }).gold);
    const { rows } = compareRuns([runOf('a', suiteOf(items, silent))], runOf('b', suiteOf(items, right)), quick);
    expect(rows.find((r) => r.metric === 'accuracy')).toMatchObject({ valueA: 0, valueB: 1, verdict: 'worse' });
    expect(rows.find((r) => r.metric === 'yes-ratio')).toMatchObject({ valueA: 0, valueB: 0.5 });
    // Never a yes: F1 is not defined, and is left out instead of being 0.
    expect(rows.some((r) => r.metric === 'f1')).toBe(false);
  });

  it('means over splits, by pictures that they share', () => {
    const all = yesNoItems(60, ['random', 'popular']);
    const [a, b] = [noisy(all, 2, 3, 0), noisy(all, 3, 2, 0)];
    const { rows } = compareRuns([runOf('a', suiteOf(all, a))], runOf('b', suiteOf(all, b)), quick);
    const of = (split: string) => rows.find((r) => r.split === split && r.metric === 'accuracy')!;
    expect(of('macro').delta).toBeCloseTo((of('random').delta + of('popular').delta) / 2, 12);
    expect(of('macro')).toMatchObject({ n: 720, clusters: 60, wins: null, test: 'permutation' });
    const family = rows.filter((r) => r.pAdjusted !== null);
    expect(family.map((r) => r.metric)).toEqual(['accuracy', 'accuracy', 'accuracy']);
    for (const row of family) expect(row.pAdjusted).toBeGreaterThanOrEqual(row.p);
  });

  it('compares pairs as pairs', () => {
    const pairs = Array.from({ length: 270 }, (_, i): Item => {
      const pair = `pair-${Math.floor(i / 2)}`;
      const ask = { kind: 'pick' as const, text: 'a dog', gold: i % 2 };
      const picture = { kind: 'scene' as const, scene: i };
      return { id: `s-${i}`, split: 'all', cluster: pair, pair, pictures: [picture, picture], ask, meta: {} };
    });
    const rowsOf = (right: (pair: number) => boolean) =>
      pairs.map(({ id }, i) =>
        scoredSchema.parse({
          itemId: id,
          label: 'A',
          rule: 'test',
          // A subject that always prefers one picture is right half the time and in no pair.
          correct: right(Math.floor(i / 2)) || i % 2 === 0 ? 1 : 0,
        }),
      );
    const [a, b] = [rowsOf((pair) => pair < 35), rowsOf((pair) => pair < 26)];
    const { rows } = compareRuns([runOf('a', suiteOf(pairs, a))], runOf('b', suiteOf(pairs, b)), quick);
    const row = rows.find((r) => r.metric === 'pair-accuracy')!;
    expect(row).toMatchObject({ n: 135, wins: 9, losses: 0, test: 'mcnemar', verdict: 'better' });
    expect(row.p).toBeCloseTo(0.003906, 6);
    expect(row.delta).toBeCloseTo(9 / 135, 12);
    expect(rows.filter((r) => r.pAdjusted !== null)).toEqual([row]);
  });

  it('compares captions by their mentions, fewer wrong ones being better', () => {
    const captions = Array.from({ length: 80 }, (_, i): Item => {
      const ask = { kind: 'caption' as const, gold: ['dog', 'cat'], references: [] };
      const picture = { kind: 'scene' as const, scene: i };
      return { id: `c-${i}`, split: 'all', cluster: `c-${i}`, pictures: [picture], ask, meta: {} };
    });
    const lexicon = { nodes: { dog: ['puppy'], cat: [], car: [] }, doubleWords: {} };
    const manifest = manifestOf('captions', 'chair', 'Captions', captions, { lexicon });
    const suite = (wrongEvery: number): JudgedSuite => ({
      manifest,
      items: captions,
      results: [],
      scored: captions.map(({ id }, i) => {
        const isWrong = i % wrongEvery === 0;
        const mentions = [['dog', 1], isWrong ? ['car', 3] : ['cat', 3]];
        const label = isWrong ? 'hallucinated' : 'faithful';
        return scoredSchema.parse({ itemId: id, label, rule: 'test', correct: isWrong ? 0 : 1, detail: { mentions } });
      }),
    });
    const { rows } = compareRuns([runOf('a', suite(10))], runOf('b', suite(2)), quick);
    const by = (metric: string) => rows.find((r) => r.metric === metric)!;
    // 8 and 40 wrong of 160 mentions; of 160 objects 152 and 120 are named.
    expect(by('chair-i')).toMatchObject({ valueA: 8 / 160, valueB: 40 / 160, verdict: 'better', test: 'bootstrap' });
    expect(by('chair-i').pAdjusted).not.toBeNull();
    expect(by('recall')).toMatchObject({ valueA: 152 / 160, valueB: 120 / 160, verdict: 'better' });
    const worse = (maxDrop: number) =>
      judgeGates(
        parseGates(`gates: [{suite: captions, metric: chair-i, maxDrop: ${maxDrop}}]`, 'g'),
        runOf('b', suite(2)),
        () => runOf('a', suite(10)),
        quick,
      )[0].verdict;
    expect([worse(1), worse(50)]).toEqual(['fail', 'pass']);
  });

  it('compares estimates by their squared error', () => {
    const numbers = Array.from({ length: 60 }, (_, i): Item => {
      const ask = { kind: 'estimate' as const, target: 'colour', gold: [0, 1] };
      const picture = { kind: 'scene' as const, scene: i };
      return { id: `e-${i}`, split: 'colour', cluster: `e-${i}`, pictures: [picture], ask, meta: {} };
    });
    const suite = (error: (i: number) => number[]): JudgedSuite => ({
      manifest: manifestOf('numbers', 'probes', 'Numbers', numbers),
      items: numbers,
      results: [],
      scored: numbers.map(({ id }, i) =>
        scoredSchema.parse({ itemId: id, label: 'closer', rule: 'test', correct: 1, detail: { error: error(i) } }),
      ),
    });
    const [a, b] = [suite((i) => [0.1, (i % 7) / 100]), suite((i) => [0.3, (i % 7) / 100])];
    const { rows } = compareRuns([runOf('a', a)], runOf('b', b), quick);
    const row = rows.find((r) => r.metric === 'mse')!;
    expect(row.delta).toBeCloseTo(-0.1, 12);
    expect(row).toMatchObject({ verdict: 'better', wins: null, test: 'permutation' });
    expect(rows.filter((r) => r.pAdjusted !== null)).toEqual([row]);
  });

  it('leaves a split’s unfiltered twin out of the mean over splits', () => {
    const all = yesNoItems(40, ['A', 'A-unfiltered', 'V2']);
    const [a, b] = [noisy(all, 2, 3, 0), noisy(all, 3, 2, 0)];
    const { rows } = compareRuns([runOf('a', suiteOf(all, a))], runOf('b', suiteOf(all, b)), quick);
    const of = (split: string) => rows.find((r) => r.split === split && r.metric === 'accuracy')!;
    expect(of('macro').delta).toBeCloseTo((of('A').delta + of('V2').delta) / 2, 12);
  });

  it('refuses other questions, other scorers and missing answers, in one sentence each', () => {
    const suite = suiteOf(items, noisy(items, 2, 2, 0));
    const other = { ...suite, manifest: { ...suite.manifest, prompt: { id: 'other', template: '{question}!' } } };
    const compare = (a: JudgedSuite, b: JudgedSuite) => () => compareRuns([runOf('a', a)], runOf('b', b), quick);
    expect(compare(suite, other)).toThrow(/holds different questions, pictures or prompts/);
    expect(compare({ ...suite, scorer: 'x@1' }, { ...suite, scorer: 'x@2' })).toThrow(/scored by x@1.*x@2/);
    expect(compare({ ...suite, scored: suite.scored.slice(1) }, suite)).toThrow(/"random-0" in the first run/);
  });

  it('names what only one run answered', () => {
    const suite = suiteOf(items, noisy(items, 2, 2, 0));
    const single = suiteOf(items, noisy(items, 2, 2, 0), 'other');
    const found = compareRuns([runOf('a', suite, single)], runOf('b', suite), quick);
    expect(found.omitted).toEqual([{ suite: 'other', reason: 'b was not asked it' }]);
    expect(new Set(found.rows.map((r) => r.suite))).toEqual(new Set(['questions']));
  });

  it('adjusts over every candidate, and over the family that is named', () => {
    const base = runOf('b', suiteOf(items, noisy(items, 3, 1.5, 0)));
    const candidates = [2, 4, 5].map((seed) => runOf(`a${seed}`, suiteOf(items, noisy(items, seed, 1.7, 0))));
    const three = compareRuns(candidates, base, quick);
    expect(three.rows.filter((r) => r.pAdjusted !== null)).toHaveLength(3);
    expect(three.family).toContain('3 runs: 3 tests');
    const named = compareRuns(candidates, base, { ...quick, family: [{ suite: 'questions', metric: 'd-prime' }] });
    expect(named.rows.filter((r) => r.pAdjusted !== null).every((r) => r.metric === 'd-prime')).toBe(true);
  });
});

describe('gates', () => {
  const base = runOf('b', suiteOf(items, noisy(items, 3, 3, 0)));
  const [gate] = parseGates('gates: [{suite: questions}]', 'gates.yaml');
  const judge = (run: JudgedRun, fields: object = {}) =>
    judgeGates([{ ...gate, ...fields }], run, () => base, quick)[0];

  it('fails only on proof', () => {
    const worse = runOf('a', suiteOf(items, noisy(items, 2, 1, 0)));
    const found = judge(worse);
    expect(found).toMatchObject({ verdict: 'fail', split: 'random', n: 1200 });
    expect(found.ci[1]).toBeLessThan(-0.01);
    expect(found.text).toMatch(
      /^Gate questions\/random accuracy fails: −\d+\.\d\d points \[−.*allowed drop of 1, n = 1200\.$/,
    );
    expect(judge(worse, { maxDrop: 50 }).verdict).toBe('pass');
    const between = judge(worse, { maxDrop: -100 * found.delta });
    expect(between.verdict).toBe('inconclusive');
    expect(between.text).toMatch(/would have been found in 80 % of repetitions/);
  });

  it('passes equal answers, and decides nothing on too few items', () => {
    expect(judge(base).verdict).toBe('pass');
    expect(judge(base, { maxDrop: 0 }).verdict).toBe('pass');
    const few = judge(runOf('a', suiteOf(items, noisy(items, 2, 1, 0))), { minN: 5000 });
    expect(few).toMatchObject({ verdict: 'inconclusive', text: expect.stringContaining('asks for 5000 items') });
  });

  it('takes a wider interval for a smaller alpha', () => {
    const worse = runOf('a', suiteOf(items, noisy(items, 2, 2, 0)));
    const [wide, narrow] = [judge(worse, { alpha: 0.01 }), judge(worse, { alpha: 0.2 })];
    expect(wide.ci[1] - wide.ci[0]).toBeGreaterThan(narrow.ci[1] - narrow.ci[0]);
    expect([wide.text, narrow.text].map((text) => /at (\d+) %/.exec(text)?.[1])).toEqual(['99', '80']);
  });

  it('lets nothing pass unseen', () => {
    expect(() => judge(base, { suite: 'none' })).toThrow(/asks for suite "none", which b was not asked/);
    const partial = { ...base, incomplete: [{ suite: 'none', reason: '3 of 9 answers' }] };
    expect(() => judge(partial, { suite: 'none' })).toThrow(/has not completed \(3 of 9 answers\)/);
    expect(() => judge(base, { split: 'other' })).toThrow(/no such comparison; it has random\/accuracy/);
  });

  it.each([
    ['- suite: x', /must be a mapping/],
    ['gates: []', /not as expected at gates/],
    ['gates: [{suite: x, maxdrop: 2}]', /gates\.0.*maxdrop/],
    ['gates: [{suite: x, maxDrop: -1}]', /gates\.0\.maxDrop/],
    ['{"gates": [{"suite": "x", "__proto__": {}}]}', /gate file/],
  ])('refuses %s', (text, sentence) => {
    expect(() => parseGates(text, 'g.yaml')).toThrow(sentence);
  });
});
