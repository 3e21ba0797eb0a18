// Yes or no from a free answer, by eight rules in order; the first that applies decides, and its name is kept with the
// verdict. It never guesses: what no rule understands is unknown.

import { firstSentence, plainAnswer } from './text.ts';

export interface YesNo {
  label: 'yes' | 'no' | 'unknown';
  rule: 'truncated' | 'abstain' | 'lead' | 'answer' | 'word' | 'both' | 'neg' | 'aff' | 'none';
}

const ABSTAINS =
  /\b(?:don't|do not|can't|cannot|can not|couldn't|could not) (?:know|tell|determine|say|be sure|answer)|\bnot (?:sure|certain)|unclear|\bunable to|unanswerable/i;
const ABSTAINS_CHINESE = /^(?:不确定|不知道|无法|不清楚|不能确定)/;
const LEAD = /^(?:(yes|yeah|yep)|no|nope)(?![a-z])/i;
const LEAD_CHINESE = /^(?:(是|有|对(?!不起))|否|不|没)/;
const ANSWER = /answer\s*(?:is|:)\s*\**"?(yes|no)\b/gi;
const NEGATION = /\b(?:is|are|does|do|can|could)(?:n't| not)\b|\bcannot\b/i;
const AFFIRMATION = /^there (?:is|are) (?:an?|one|two|three|some|several|\d+)/i;

/** What `raw` says, and the rule that decided. "First sentence" is the first part that holds anything (text.ts). */
export function parseYesNo(raw: string): YesNo {
  const text = plainAnswer(raw);
  if (text === null) return { label: 'unknown', rule: 'truncated' };
  const sentence = firstSentence(text);
  if (ABSTAINS.test(sentence) || ABSTAINS_CHINESE.test(text)) return { label: 'unknown', rule: 'abstain' };
  const lead = LEAD.exec(text) ?? LEAD_CHINESE.exec(text);
  if (lead) return { label: lead[1] ? 'yes' : 'no', rule: 'lead' };
  const answer = [...text.matchAll(ANSWER)].at(-1);
  if (answer) return { label: answer[1].toLowerCase() as 'yes' | 'no', rule: 'answer' };
  const yes = /\byes\b/i.test(sentence);
  const no = /\bno\b/i.test(sentence);
  if (yes && no) return { label: 'unknown', rule: 'both' };
  if (yes || no) return { label: yes ? 'yes' : 'no', rule: 'word' };
  if (NEGATION.test(sentence)) return { label: 'no', rule: 'neg' };
  if (AFFIRMATION.test(text)) return { label: 'yes', rule: 'aff' };
  return { label: 'unknown', rule: 'none' };
}
