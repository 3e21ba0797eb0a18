// What published scripts make of an answer, faults included, so that their numbers can be set beside ours. Ours is
// parse-yes-no.ts; nothing here is ever the default.

import type { BinaryCounts } from '../../metrics/binary.ts';

/** One published script. */
export interface CompatRule {
  id: string;
  /** Project, file and commit. */
  source: string;
  /** What it takes `raw` for when `gold` is right. */
  label(raw: string, gold: 'yes' | 'no'): 'yes' | 'no' | 'unknown';
}

/** White space as Python's str.strip and str.split see it: Unicode's, and four separators of ASCII. */
const SPACES = new Set(
  '\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000',
);
const words = (text: string): string[] =>
  Array.from(text, (c) => (SPACES.has(c) ? ' ' : c))
    .join('')
    .split(' ');

function strip(text: string): string {
  let first = 0;
  let last = text.length;
  while (first < last && SPACES.has(text[first])) first++;
  while (last > first && SPACES.has(text[last - 1])) last--;
  return text.slice(first, last);
}

/** First sentence by the full stop, no commas, cut at single spaces; yes unless "No", "not" or "no" is among the words. */
const popeOfficial: CompatRule = {
  id: 'pope-official',
  source: 'RUCAIBox/POPE evaluate.py (3df3ba1); the same rule in LLaVA eval_pope.py',
  label(raw) {
    const said = raw.split('.')[0].replaceAll(',', '').split(' ');
    return said.some((word) => word === 'No' || word === 'not' || word === 'no') ? 'no' : 'yes';
  },
};

/** Looks for the right answer anywhere in the text, also inside of words, so one text may be right for either. */
const vcd: CompatRule = {
  id: 'vcd',
  source: 'DAMO-NLP-SG/VCD experiments/eval/eval_pope.py (d6568ff)',
  label(raw, gold) {
    if (raw.toLowerCase().includes(gold)) return gold;
    return gold === 'yes' ? 'no' : 'yes';
  },
};

/** Exact match; `Yes.` is wrong. */
const lmmsEval: CompatRule = {
  id: 'lmms-eval',
  source: 'EvolvingLMMs-Lab/lmms-eval lmms_eval/tasks/pope/utils.py (75571cf)',
  label(raw) {
    const said = strip(raw.toLowerCase());
    return said === 'yes' || said === 'no' ? said : 'unknown';
  },
};

const PUNCTUATION = [...(';/[]"{}()=+\\_->' + '<@`,?!')];

/** Punctuation beside a space is dropped and any other becomes a space; `*` is none; no more than 32 full stops are dropped. */
const vlmEvalKit: CompatRule = {
  id: 'vlmevalkit',
  source: 'open-compass/VLMEvalKit vlmeval/dataset/utils/yorn.py (e8e78f0), without its judge model',
  label(raw) {
    const text = raw.toLowerCase();
    const thousands = /\p{Nd},\p{Nd}/u.test(text);
    let plain = text;
    for (const mark of PUNCTUATION) {
      const dropped = thousands || text.includes(`${mark} `) || text.includes(` ${mark}`);
      plain = plain.replaceAll(mark, dropped ? '' : ' ');
    }
    let stops = 32;
    const said = words(plain.replace(/\.(?!\p{Nd})/gu, (stop) => (stops-- > 0 ? '' : stop)));
    const yes = said.includes('yes');
    if (yes === said.includes('no')) return 'unknown';
    return yes ? 'yes' : 'no';
  },
};

/** Where DEEM cuts an answer: what follows the first of each, then what comes before. */
const AFTER = ['is ', 'are ', 'a ', 'an ', 'the '];
const BEFORE = [' of', ' or ', ' and '];

/** First piece of the first line, cut at articles and the like, then exact match. */
const robustvqaDeem: CompatRule = {
  id: 'robustvqa-deem',
  source: 'RainBowLuoCS/DEEM uni_interleaved/utils/{vqa_score,imagenet_score}.py (631a4ac)',
  label(raw) {
    let said = strip(raw.replaceAll('"', '')).split('\n')[0].split(/[.,!]/)[0].toLowerCase();
    for (const word of AFTER) said = said.includes(word) ? said.split(word)[1] : said;
    for (const word of BEFORE) said = said.split(word)[0];
    said = strip(said.replace(/[:[\]\t]/g, ' '));
    return said === 'yes' || said === 'no' ? said : 'unknown';
  },
};

export const COMPAT_RULES: readonly CompatRule[] = [popeOfficial, vcd, lmmsEval, vlmEvalKit, robustvqaDeem];

/** What a script prints for all answers together, in [0, 1]; null for what it leaves out or dies of (0 ÷ 0). */
export interface ScriptNumbers {
  accuracy: number | null;
  precision: number | null;
  recall: number | null;
  f1: number | null;
  'yes-ratio': number | null;
}

/**
 * The numbers of the script `id` from the counts of its labels. lmms-eval leaves unanswered questions out of recall,
 * writes 0 for 0 ÷ 0 and takes its yes-ratio from the truth; VLMEvalKit writes 0 for 0 ÷ 0 and has no yes-ratio; DEEM has
 * accuracy alone; the others die of 0 ÷ 0.
 */
export function scriptNumbers(id: string, counts: BinaryCounts): ScriptNumbers {
  const { tp, fn, fp, tn, blankYes, blankNo } = counts;
  const n = tp + fn + fp + tn + blankYes + blankNo;
  const lenient = id === 'lmms-eval' || id === 'vlmevalkit';
  const over = (top: number, bottom: number): number | null => (bottom === 0 ? (lenient ? 0 : null) : top / bottom);
  const accuracy = n === 0 ? null : (tp + tn) / n;
  const none = { precision: null, recall: null, f1: null, 'yes-ratio': null };
  if (id === 'robustvqa-deem') return { accuracy, ...none };
  const precision = over(tp, tp + fp);
  const recall = over(tp, tp + fn + (id === 'lmms-eval' ? 0 : blankYes));
  const f1 = precision === null || recall === null ? null : over(2 * precision * recall, precision + recall);
  const yes = id === 'lmms-eval' ? tp + fn + blankYes : tp + fp;
  return { accuracy, precision, recall, f1, 'yes-ratio': id === 'vlmevalkit' || n === 0 ? null : yes / n };
}
