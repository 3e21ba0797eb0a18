// Small pieces that every part of the report is written with: escaping, number formats, names for people. No markup of
// a section stands here.

/** A piece of markup that is safe to insert as it is. */
export type Html = string;

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** Text made safe for element content and quoted attributes; control characters that HTML forbids are dropped. */
export function esc(text: unknown): Html {
  return String(text)
    .replace(/[^\t\n\r\u0020-\uffff]/g, '')
    .replace(/[&<>"']/g, (c) => ENTITIES[c]);
}

/** Roles in the order and with the words of the report. */
export const ROLE_NOTES: Record<string, string> = {
  baseline: 'The common start, before alignment.',
  aligned: 'Trained with the feedback of the frozen denoiser.',
  control: 'The same steps on the same pictures without the feedback term.',
  placebo: 'The same steps with feedback from shuffled pairs, its gradient matched in norm.',
};

/** CSS class that carries a role's colour; unknown roles get a neutral one. */
export function roleClass(role: string): string {
  return role in ROLE_NOTES ? `role-${role}` : 'role-other';
}

/** A minus sign that is as wide as a plus, and no negative zero. */
export function fixed(value: number, digits: number): string {
  if (!Number.isFinite(value)) return 'n/a';
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace('-', '') : text.replace('-', '−');
}

export function signed(value: number, digits: number): string {
  const text = fixed(value, digits);
  return value > 0 && Number(text) !== 0 ? `+${text}` : text;
}

/** Shares are shown in per cent, R² as it is. */
export function isShare(metric: string): boolean {
  return !metric.startsWith('r2-');
}

/** A level: `47.1 %` or `0.72`. */
export function level(value: number, metric: string): string {
  return isShare(metric) ? `${fixed(100 * value, 1)}\u00a0%` : fixed(value, 2);
}

/** An interval of a level in the same units, without them. */
export function levelInterval(ci: readonly [number, number], metric: string): string {
  const one = (v: number) => (isShare(metric) ? fixed(100 * v, 1) : fixed(v, 2));
  return `[${one(ci[0])}, ${one(ci[1])}]`;
}

/** A difference: `+1.3 pp` or `+0.08`. */
export function difference(value: number, metric: string): string {
  return isShare(metric) ? `${signed(100 * value, 1)}\u00a0pp` : signed(value, 3);
}

export function differenceInterval(ci: readonly [number, number], metric: string): string {
  const one = (v: number) => (isShare(metric) ? signed(100 * v, 1) : signed(v, 3));
  return `[${one(ci[0])}, ${one(ci[1])}]`;
}

export function pValue(p: number): string {
  return p < 0.001 ? '< 0.001' : fixed(p, 3);
}

export function seconds(total: number): string {
  if (total < 60) return `${fixed(total, total < 10 ? 1 : 0)} s`;
  const whole = Math.round(total);
  return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`;
}

const METRIC_NAMES: Record<string, string> = { top1: 'top-1', twoway: 'two-way' };

/** `top-1`, `two-way` or `R²`. */
export function metricName(metric: string): string {
  return METRIC_NAMES[metric] ?? (metric.startsWith('r2-') ? 'R²' : metric);
}

/** A split in words; of a probe, what it reads. */
export function splitName(suite: string, split: string, metric = ''): string {
  if (suite === 'probes') return `Probe · ${metric.slice(3)}`;
  if (suite !== 'retention' && suite !== 'robustvqa') return `${suite} · ${split}`;
  const [head, style] = split.split(/\/(.*)/s);
  switch (head) {
    case 'id':
      return 'In distribution';
    case 'A':
      return 'A · adversarial';
    case 'A-unfiltered':
      return 'A · unfiltered twin';
    case 'R':
      return `R · ${style ?? 'all styles'}`;
    case 'V2':
      return `V2 · ${style ?? 'all re-draws'}`;
    default:
      return split;
  }
}

export function shortId(id: string): string {
  return id.slice(0, 12);
}

export function section(title: string, content: Html): Html {
  return `<section><h2>${esc(title)}</h2>${content}</section>`;
}

/** A whole page that loads nothing and runs nothing; `source` is what its numbers can be recomputed from. Empty parts are left out. */
export function page({
  title,
  style,
  body,
  source,
}: {
  title: string;
  style: string;
  body: Html[];
  source: string;
}): Html {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>${esc(title)}</title>
<style>${style}</style>
</head>
<body>
<main>
${body.filter((part) => part !== '').join('\n')}
<footer class="quiet">Made by Fovea. Every number can be recomputed from ${source}.</footer>
</main>
</body>
</html>
`;
}
