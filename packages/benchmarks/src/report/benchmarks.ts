// The report's part on benchmarks that were asked beside the recipe's suites: one table each, roles side by side. What is
// better or worse stands with the differences.

import type { Result } from '../judging/result.ts';
import type { BenchmarkCard, Scorecard } from '../scorecard.ts';
import { esc, fixed, type Html, roleClass } from './html.ts';

/** Rows that stand open; the rest, such as every severity of every corruption, is folded away. */
const OPEN_ROWS = 12;

/** Empty where no role was asked any. */
export function benchmarksSection(finals: Map<string, Scorecard>): Html {
  const cards = [...finals.values()].filter(({ benchmarks = [] }) => benchmarks.length > 0);
  const names = [...new Set(cards.flatMap(({ benchmarks = [] }) => benchmarks.map(({ name }) => name)))];
  return names.map((name) => block(name, cards)).join('');
}

function block(name: string, cards: readonly Scorecard[]): Html {
  const asked = cards.flatMap(({ role, benchmarks = [] }) => {
    const card = benchmarks.find((each) => each.name === name);
    return card ? [{ role, card }] : [];
  });
  const [{ card: first }] = asked;
  const head = asked.map(({ role }) => `<th class="num"><span class="key ${roleClass(role)}">${esc(role)}</span></th>`);
  const rows = first.results.map((result) => row(result, asked));
  const table = (body: string[]) =>
    `<div class="scroll"><table><thead><tr><th>Split</th><th>Measure</th><th class="num">n</th><th class="num">Chance</th>${head.join('')}</tr></thead><tbody>${body.join('')}</tbody></table></div>`;
  const rest = rows.slice(OPEN_ROWS);
  return (
    `<section><h3>${esc(first.title)}</h3><p class="quiet"><code>${esc(name)}</code>, ${esc(HOW[first.subject] ?? first.subject)}, ` +
    `${first.items.ids.length} questions, judged by <code>${esc(first.scorer)}</code>. 95 % intervals.</p>` +
    table(rows.slice(0, OPEN_ROWS)) +
    (rest.length === 0 ? '' : `<details><summary>${rest.length} more measures</summary>${table(rest)}</details>`) +
    '</section>'
  );
}

const HOW: Record<string, string> = {
  encoder: 'answered by comparing pictures with texts',
  probe: 'answered by a probe on the frozen features',
};

function row(result: Result, asked: readonly { role: string; card: BenchmarkCard }[]): Html {
  const { split, metric, n, chance } = result;
  const cells = asked.map(({ card }) => {
    const own = card.results.find((each) => each.split === split && each.metric === metric);
    return `<td class="num">${own ? shown(own) : '–'}</td>`;
  });
  return `<tr><th scope="row">${esc(split)}</th><td>${esc(metric)}</td><td class="num">${n}</td><td class="num">${chance === null ? '–' : fixed(chance, 3)}</td>${cells.join('')}</tr>`;
}

function shown({ value, ci, errors }: Result): Html {
  if (value === null) return '<span class="quiet">not defined</span>';
  const interval = ci === null ? '' : ` <span class="quiet">[${fixed(ci.low, 3)}, ${fixed(ci.high, 3)}]</span>`;
  return `<b>${fixed(value, 3)}</b>${interval}${errors > 0 ? ` <span class="quiet">${errors} errors</span>` : ''}`;
}
