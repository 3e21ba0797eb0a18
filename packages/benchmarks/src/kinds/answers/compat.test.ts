import { describe, expect, it } from 'vitest';
import { noCounts } from '../../metrics/binary.ts';
import { COMPAT_RULES, scriptNumbers } from './compat.ts';
import { parseYesNo } from './parse-yes-no.ts';

const by = (id: string) => {
  const rule = COMPAT_RULES.find((one) => one.id === id);
  if (!rule) throw new Error(`no script ${id}`);
  return rule;
};

describe('published scripts', () => {
  /** Answer; what the official scorer reads; whether VCD's is right for gold yes and no; lmms-eval; VLMEvalKit; ours. */
  type Row = [string, 'yes' | 'no', boolean, boolean, string, string, string];
  const table: Row[] = [
    ['Yes.', 'yes', true, false, 'unknown', 'yes', 'yes'],
    ['No.', 'no', false, true, 'unknown', 'no', 'no'],
    ['NO', 'yes', false, true, 'no', 'no', 'no'],
    ['no\n', 'yes', false, true, 'no', 'no', 'no'],
    ['No!', 'yes', false, true, 'unknown', 'no', 'no'],
    ["No; there isn't", 'yes', false, true, 'unknown', 'no', 'no'],
    ["There isn't a dog.", 'yes', false, false, 'unknown', 'unknown', 'no'],
    ['The image does not show a dog.', 'no', false, true, 'unknown', 'unknown', 'no'],
    ['Yes, there is no doubt a dog.', 'no', true, true, 'unknown', 'unknown', 'yes'],
    ['Yes. There is no cat though.', 'yes', true, true, 'unknown', 'unknown', 'yes'],
    ["I don't know", 'yes', false, true, 'unknown', 'unknown', 'unknown'],
    ['Not sure', 'yes', false, true, 'unknown', 'unknown', 'unknown'],
    ['A snowboard is visible', 'yes', false, true, 'unknown', 'unknown', 'unknown'],
    ['', 'yes', false, false, 'unknown', 'unknown', 'unknown'],
    ['dog', 'yes', false, false, 'unknown', 'unknown', 'unknown'],
    ['**Yes**', 'yes', true, false, 'unknown', 'unknown', 'yes'],
    ['There is a person. No dog.', 'yes', false, true, 'unknown', 'no', 'yes'],
    ['是', 'yes', false, false, 'unknown', 'unknown', 'yes'],
  ];
  it.each(table)('disagree about %j as in the specification', (answer, official, vcdYes, vcdNo, lmms, kit, ours) => {
    for (const gold of ['yes', 'no'] as const) {
      expect(by('pope-official').label(answer, gold)).toBe(official);
      expect(by('lmms-eval').label(answer, gold)).toBe(lmms);
      expect(by('vlmevalkit').label(answer, gold)).toBe(kit);
    }
    expect(by('vcd').label(answer, 'yes') === 'yes').toBe(vcdYes);
    expect(by('vcd').label(answer, 'no') === 'no').toBe(vcdNo);
    expect(parseYesNo(answer).label).toBe(ours);
  });

  it.each([
    ['yes', 'yes'],
    ['Yes, it is', 'yes'],
    ['"No!" she said', 'no'],
    ['The answer is yes', 'yes'],
    ['the answer is: no', 'unknown'],
    ['Answer is [no]', 'no'],
    [' [Yes]\nNo', 'yes'],
    ['yes and no', 'yes'],
    ['no or yes', 'no'],
    ['an honest the no of it', 'no'],
    ['Yes it is a dog', 'unknown'],
    ['There is no dog', 'unknown'],
    ['', 'unknown'],
    ['yes\u0085', 'yes'],
  ])('DEEM’s rule (2.5) reads %j as %s', (answer, label) => {
    expect(by('robustvqa-deem').label(answer, 'yes')).toBe(label);
    expect(by('robustvqa-deem').label(answer, 'no')).toBe(label);
  });

  it('VLMEvalKit drops 32 full stops, and punctuation only where a space is beside it', () => {
    const kit = by('vlmevalkit');
    expect(kit.label(`${'.'.repeat(32)}yes`, 'yes')).toBe('yes');
    expect(kit.label(`${'.'.repeat(33)}yes`, 'yes')).toBe('unknown');
    expect(kit.label('dog-yes', 'yes')).toBe('yes');
    expect(kit.label('dog-yes - really', 'yes')).toBe('unknown');
    expect(kit.label('1,000 dogs/yes', 'yes')).toBe('unknown');
  });

  it('sums up as each script does', () => {
    const counts = { ...noCounts(), tp: 4, fn: 1, fp: 2, tn: 3, blankYes: 5, blankNo: 5 };
    expect(scriptNumbers('pope-official', counts)).toMatchObject({ accuracy: 0.35, recall: 0.4, 'yes-ratio': 0.3 });
    expect(scriptNumbers('lmms-eval', counts)).toMatchObject({ accuracy: 0.35, recall: 0.8, 'yes-ratio': 0.5 });
    expect(scriptNumbers('vlmevalkit', counts)).toMatchObject({ accuracy: 0.35, recall: 0.4, 'yes-ratio': null });
    expect(scriptNumbers('robustvqa-deem', counts)).toEqual({
      accuracy: 0.35,
      precision: null,
      recall: null,
      f1: null,
      'yes-ratio': null,
    });
    const never = { ...noCounts(), fn: 5, tn: 5 };
    expect(scriptNumbers('pope-official', never)).toMatchObject({ precision: null, f1: null, 'yes-ratio': 0 });
    expect(scriptNumbers('lmms-eval', never)).toMatchObject({ precision: 0, recall: 0, f1: 0, 'yes-ratio': 0.5 });
    expect(scriptNumbers('vcd', noCounts())).toMatchObject({ accuracy: null, 'yes-ratio': null });
  });
});
