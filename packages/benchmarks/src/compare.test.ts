import { beforeAll, describe, expect, it } from 'vitest';
import { compareRoles, compareScorecards } from './compare.ts';
import { scorePlan } from './score.ts';
import { notTestable, type Scorecard, testabilityThreshold } from './scorecard.ts';
import { mcnemarExact } from './statistics.ts';
import { drawnPlan, drawnSubject, evalConfig } from './testing.ts';

const roles = new Map<string, Scorecard>();

beforeAll(async () => {
  const plan = drawnPlan();
  // Aligned sees the picture as the baseline does, control hardly anything but red, placebo is a different projection.
  const subjects = {
    baseline: await drawnSubject(1),
    aligned: await drawnSubject(1),
    control: await drawnSubject(1, 24, (input) => (input < 36 ? 1 : 0.02)),
    placebo: await drawnSubject(2),
  };
  for (const [role, subject] of Object.entries(subjects)) {
    const checkpoint = role.padEnd(64, '0');
    roles.set(role, await scorePlan({ plan, subject, checkpoint, role, eval: evalConfig, suites: evalConfig.suites }));
  }
});

const card = (role: string) => roles.get(role) as Scorecard;
const compare = (a: string, b: string) => compareScorecards(card(a), card(b), { baseline: card('baseline') });

describe('pairs', () => {
  it('finds nothing between equal models', () => {
    for (const row of compare('aligned', 'baseline')) {
      expect(row).toMatchObject({ delta: 0, ci: [0, 0], p: 1 });
      expect(['inconclusive', 'not-testable']).toContain(row.verdict);
    }
  });

  it('counts discordant items and tests them exactly', () => {
    const row = compare('aligned', 'control').find((r) => r.suite === 'retention' && r.metric === 'top1')!;
    const outcomes = (role: string) => card(role).items.top1;
    const wins = outcomes('aligned').filter((v, i) => v === 1 && outcomes('control')[i] === 0).length;
    const losses = outcomes('aligned').filter((v, i) => v === 0 && outcomes('control')[i] === 1).length;
    expect(row).toMatchObject({
      wins,
      losses,
      nDiscordant: wins + losses,
      n: 336,
      test: 'mcnemar',
      p: mcnemarExact(wins, losses),
    });
    expect(row.delta).toBeCloseTo((wins - losses) / 336, 12);
    expect(row.verdict).toBe('better');
  });

  it('is antisymmetric', () => {
    const [there, back] = [compare('aligned', 'control'), compare('control', 'aligned')];
    there.forEach((row, i) => {
      expect(back[i].delta).toBeCloseTo(-row.delta, 12);
      expect(back[i].ci[0]).toBeCloseTo(-row.ci[1], 12);
      expect(back[i].p).toBeCloseTo(row.p, 12);
      const mirrored = {
        better: 'worse',
        worse: 'better',
        inconclusive: 'inconclusive',
        'not-testable': 'not-testable',
      };
      expect(back[i].verdict).toBe(mirrored[row.verdict]);
    });
  });

  it('pairs probes item by item', () => {
    const row = compare('aligned', 'control').find((r) => r.metric === 'r2-background')!;
    expect(row).toMatchObject({ suite: 'probes', test: 'bootstrap', nDiscordant: null });
    const of = (role: string) => card(role).results.find((r) => r.metric === 'r2-background')!;
    expect(row.delta).toBeCloseTo(of('aligned').value - of('control').value, 12);
    // Paired draws: narrower than the two intervals laid together.
    const width = (ci: [number, number]) => ci[1] - ci[0];
    expect(width(row.ci)).toBeLessThan(width(of('aligned').ci) + width(of('control').ci));
    expect(row.n).toBe(card('aligned').probes.rows.length);
  });

  it('refuses scorecards of different questions', () => {
    const other = { ...card('control'), questions: '0'.repeat(64) };
    expect(() => compareScorecards(card('aligned'), other, { baseline: card('baseline') })).toThrow(
      /answer different questions/,
    );
  });
});

describe('testability', () => {
  const withTop1 = (ci: [number, number], n: number, classes = 100): Scorecard => {
    const results = [{ ...card('baseline').results.find((r) => r.split === 'V2' && r.metric === 'top1')!, ci, n }];
    return { ...card('baseline'), classes, results };
  };

  it('needs the baseline’s whole interval above three times chance, and items enough', () => {
    expect(notTestable(withTop1([0.031, 0.06], 300), 'robustvqa', 'V2')).toBeNull();
    expect(notTestable(withTop1([0.03, 0.06], 300), 'robustvqa', 'V2')).toMatch(/near chance.*3\.0\s%/);
    expect(notTestable(withTop1([0.5, 0.6], 299), 'robustvqa', 'V2')).toMatch(/299 items/);
    expect(notTestable(withTop1([0.5, 0.6], 300), 'robustvqa', 'R/x')).toMatch(/not scored/);
    expect(notTestable(withTop1([0, 0], 0), 'probes', 'id')).toBeNull();
  });

  it('asks of few classes what they can give', () => {
    expect(testabilityThreshold(2)).toBe(0.75);
    expect(testabilityThreshold(5)).toBeCloseTo(0.6, 12);
    expect(testabilityThreshold(150)).toBeCloseTo(0.02, 12);
  });

  it('keeps a split without it from carrying a verdict', () => {
    // 168 items are too few for a robustness split.
    for (const row of compare('aligned', 'control').filter((r) => r.suite === 'robustvqa')) {
      expect(row).toMatchObject({ verdict: 'not-testable', notTestable: expect.stringContaining('168 items') });
    }
  });
});

describe('roles', () => {
  it('adjusts over the claims only, and lets Holm’s p decide there', () => {
    const { rows, family } = compareRoles(roles);
    const claims = rows.filter((r) => r.kind === 'family' && r.verdict !== 'not-testable');
    expect(family).toContain(`${claims.length} tests`);
    // Two pairs × (two retention metrics, background); the square's place is read by nobody.
    expect(claims).toHaveLength(6);
    for (const row of claims) {
      expect(row.pAdjusted).toBeGreaterThanOrEqual(row.p);
      if (row.pAdjusted! > 0.05) expect(row.verdict).toBe('inconclusive');
    }
    for (const row of rows.filter((r) => r.kind !== 'family' || r.verdict === 'not-testable'))
      expect(row.pAdjusted).toBeNull();
    expect(rows.filter((r) => r.kind === 'primary')).toHaveLength(1);
    expect(new Set(rows.map((r) => `${r.a}-${r.b}`)).size).toBe(6);
  });

  it('compares what there is', () => {
    const some = new Map([...roles].filter(([role]) => role === 'baseline' || role === 'control'));
    expect(new Set(compareRoles(some).rows.map((r) => `${r.a}-${r.b}`))).toEqual(new Set(['control-baseline']));
    expect(compareRoles(new Map()).rows).toEqual([]);
  });
});
