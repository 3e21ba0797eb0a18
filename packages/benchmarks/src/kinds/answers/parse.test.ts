import { describe, expect, it } from 'vitest';
import { COMPAT_RULES } from './compat.ts';
import { parseOption } from './parse-option.ts';
import { parseYesNo } from './parse-yes-no.ts';

describe('parseYesNo', () => {
  const cases: [answer: string, label: string, rule: string][] = [
    // The table of disagreement (2.1).
    ['Yes.', 'yes', 'lead'],
    ['No.', 'no', 'lead'],
    ['NO', 'no', 'lead'],
    ['no\n', 'no', 'lead'],
    ['No!', 'no', 'lead'],
    ["No; there isn't", 'no', 'lead'],
    ["There isn't a dog.", 'no', 'neg'],
    ['The image does not show a dog.', 'no', 'neg'],
    ['Yes, there is no doubt a dog.', 'yes', 'lead'],
    ['Yes. There is no cat though.', 'yes', 'lead'],
    ["I don't know", 'unknown', 'abstain'],
    ['Not sure', 'unknown', 'abstain'],
    ['A snowboard is visible', 'unknown', 'none'],
    ['', 'unknown', 'none'],
    ['dog', 'unknown', 'none'],
    ['**Yes**', 'yes', 'lead'],
    ['There is a person. No dog.', 'yes', 'aff'],
    ['是', 'yes', 'lead'],
    // The cases beyond it.
    ['No\nThere is no dog', 'no', 'lead'],
    ['I cannot see a dog', 'no', 'neg'],
    ['unanswerable', 'unknown', 'abstain'],
    ['<think>hmm', 'unknown', 'truncated'],
    ['不确定', 'unknown', 'abstain'],
    ['Notebook on desk', 'unknown', 'none'],
    ['I would say yes or no', 'unknown', 'both'],
    ['Yes\n\nNo', 'yes', 'lead'],
    ['<think>no..</think>yes', 'yes', 'lead'],
    ['The answer is yes', 'yes', 'answer'],
    ['没有', 'no', 'lead'],
    ['Nope', 'no', 'lead'],
    ['Answer: No', 'no', 'answer'],
    ['There isn’t a dog.', 'no', 'neg'],
    // Every rule once more, at its edges.
    ['Answer: yes. On reflection, the answer is **no**', 'no', 'answer'],
    ['  "Yes", it said', 'yes', 'lead'],
    ['ＹＥＳ', 'yes', 'lead'],
    ['Yeah', 'yes', 'lead'],
    ['没看到狗', 'no', 'lead'],
    ['有一只狗', 'yes', 'lead'],
    ['对不起，我看不见', 'unknown', 'none'],
    ['无法判断', 'unknown', 'abstain'],
    ['It is unclear whether a dog is there', 'unknown', 'abstain'],
    ["I can't tell from this picture", 'unknown', 'abstain'],
    ['I believe yes', 'yes', 'word'],
    ['I see no dog here', 'no', 'word'],
    ['There are 3 dogs', 'yes', 'aff'],
    ['It could not be a dog', 'no', 'neg'],
    ['...\nno', 'no', 'word'],
    ['thinking aloud</think>\nNo', 'no', 'lead'],
    ['<think>a</think><think>b</think> Yes', 'yes', 'lead'],
    ['Yesterday there was one', 'unknown', 'none'],
  ];
  it.each(cases)('reads %j as %s by rule %s', (answer, label, rule) => {
    expect(parseYesNo(answer)).toEqual({ label, rule });
  });

  it('takes time in proportion to a text of any kind', () => {
    const long = 200_000;
    const pieces = ['<think>', '</think>', 'answer ', 'answer:', '*', ' ', 'is ', '.', 'no'];
    const texts = pieces.map((piece) => piece.repeat(long / piece.length));
    for (const start of ['answer', 'answer is', 'answer:', 'x']) texts.push(`${start}${' '.repeat(long)}x`);
    for (const text of texts) {
      const started = performance.now();
      parseYesNo(text);
      parseOption(text, ['Standing', 'Sitting']);
      for (const { label } of COMPAT_RULES) label(text, 'no');
      expect(performance.now() - started, text.slice(0, 20)).toBeLessThan(10_000);
    }
  });
});

describe('parseOption', () => {
  const postures = ['Standing', 'Sitting'];
  const cases: [answer: string, label: string, rule: string][] = [
    ['(a)', 'A', 'lead'],
    ['A', 'A', 'lead'],
    ['A)', 'A', 'lead'],
    ['**A**', 'A', 'lead'],
    ['A dog is standing', 'A', 'text'],
    ['b', 'B', 'lead'],
    ['B. Standing', 'B', 'lead'],
    ['The answer is (b)', 'B', 'answer'],
    ['I see a panda sitting', 'B', 'text'],
    ['(b) Sitting', 'B', 'lead'],
    ['The person is sitting', 'B', 'text'],
    ['Answer: **B**', 'B', 'answer'],
    ['answer is a bird', 'unknown', 'none'],
    ['Open a door', 'unknown', 'none'],
    ['Both are visible', 'unknown', 'none'],
    ['ab', 'unknown', 'none'],
    ['The answer is not A', 'unknown', 'none'],
    // Edges.
    ['', 'unknown', 'none'],
    ['C', 'unknown', 'none'],
    ['Standing or sitting', 'unknown', 'several'],
    ['A\nbecause it stands', 'A', 'lead'],
    ['Option A is wrong. The correct choice is: B.', 'B', 'answer'],
    ['It is not option A', 'unknown', 'none'],
    ['<think>A', 'unknown', 'truncated'],
    ['<think>A</think>(b)', 'B', 'lead'],
    ['Outstanding', 'unknown', 'none'],
    ['ＳＩＴＴＩＮＧ', 'B', 'text'],
  ];
  it.each(cases)('reads %j as %s by rule %s', (answer, label, rule) => {
    expect(parseOption(answer, postures)).toEqual({ label, rule });
  });

  it('reads up to 26 letters and options within options', () => {
    const letters = Array.from({ length: 26 }, (_, i) => `thing ${i}`);
    expect(parseOption('The answer is Z.', letters)).toEqual({ label: 'Z', rule: 'answer' });
    expect(parseOption('thing 25', letters)).toEqual({ label: 'Z', rule: 'text' });
    expect(parseOption('I see it', letters)).toEqual({ label: 'unknown', rule: 'none' });
    expect(parseOption('D', ['x', 'y', 'z'])).toEqual({ label: 'unknown', rule: 'none' });
    expect(parseOption('It is not open', ['Open', 'Not open'])).toEqual({ label: 'B', rule: 'text' });
    expect(parseOption('It is C++ (really)', ['C', 'C++'])).toEqual({ label: 'B', rule: 'text' });
  });
});
