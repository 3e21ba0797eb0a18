// The report's drawings as inline SVG: lines over steps, dots with intervals. Colours come from CSS classes so that light
// and dark follow the reader's system; no script, no external font, nothing interactive.

import { esc, type Html, roleClass } from './html.ts';

export interface Axis {
  low: number;
  high: number;
  ticks: number[];
}

/** A round axis that covers [low, high] with about `count` ticks. */
export function niceAxis(low: number, high: number, count = 5): Axis {
  if (!(high > low)) {
    const pad = Math.abs(low) * 0.1 || 1;
    return niceAxis(low - pad, low + pad, count);
  }
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 2.5, 5, 10].find((m) => m * power >= rough * 0.999) ?? 10);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  return { low: ticks[0], high: ticks[ticks.length - 1], ticks };
}

function tickText(value: number, axis: Axis): string {
  const step = axis.ticks.length > 1 ? Number((axis.ticks[1] - axis.ticks[0]).toPrecision(6)) : 1;
  if (Math.abs(value) >= 10000) return `${Number((value / 1000).toPrecision(4))}k`;
  const digits = Math.max(0, Math.min(6, Math.ceil(-Math.log10(step) - 1e-9)));
  const exact = Number(step.toFixed(digits)) === step ? digits : digits + 1;
  return value.toFixed(exact).replace('-', '−');
}

const n2 = (value: number) => String(Math.round(value * 100) / 100);

export interface Series {
  label: string;
  role: string;
  /** [x, y], ascending in x. */
  points: [number, number][];
  /** Separate marks, such as the fixed probe batch at round ends. */
  marks?: [number, number][];
}

export interface LineChart {
  title: string;
  /** One plain sentence for readers who cannot see the drawing. */
  description: string;
  x: string;
  series: Series[];
  /** Draw y = 0 and keep it in view. */
  zero?: boolean;
  /** Ticks of x at whole numbers only. */
  integers?: boolean;
  width?: number;
  height?: number;
}

/** Lines over steps or rounds, with a legend when there are several. */
export function lineChart(chart: LineChart): Html {
  const { width = 520, height = 230 } = chart;
  const box = { left: 52, right: 12, top: 10, bottom: 34 };
  const all = chart.series.flatMap((s) => [...s.points, ...(s.marks ?? [])]).filter(([, y]) => Number.isFinite(y));
  if (all.length === 0) return '';
  const xs = all.map(([x]) => x);
  const ys = all.map(([, y]) => y);
  if (chart.zero) ys.push(0);
  const xAxis = xTicks(min(xs), max(xs), chart.integers === true);
  const yAxis = niceAxis(min(ys), max(ys), 4);
  const px = (x: number) => box.left + ((x - xAxis.low) / (xAxis.high - xAxis.low)) * (width - box.left - box.right);
  const py = (y: number) =>
    height - box.bottom - ((y - yAxis.low) / (yAxis.high - yAxis.low)) * (height - box.top - box.bottom);
  const grid = yAxis.ticks.map(
    (t) =>
      `<line class="${t === 0 && chart.zero ? 'zero' : 'grid'}" x1="${box.left}" x2="${width - box.right}" y1="${n2(py(t))}" y2="${n2(py(t))}"/>` +
      `<text class="tick" x="${box.left - 7}" y="${n2(py(t) + 4)}" text-anchor="end">${tickText(t, yAxis)}</text>`,
  );
  const below = xAxis.ticks.map(
    (t) =>
      `<text class="tick" x="${n2(px(t))}" y="${height - box.bottom + 16}" text-anchor="middle">${tickText(t, xAxis)}</text>`,
  );
  const lines = chart.series.map((s) => {
    const path = s.points
      .filter(([, y]) => Number.isFinite(y))
      .map(([x, y], i) => `${i === 0 ? 'M' : 'L'}${n2(px(x))} ${n2(py(y))}`)
      .join('');
    const marks = (s.marks ?? [])
      .filter(([, y]) => Number.isFinite(y))
      .map(([x, y]) => `<circle class="mark" cx="${n2(px(x))}" cy="${n2(py(y))}" r="3.5"/>`);
    return `<g class="${roleClass(s.role)}"><path class="line" d="${path}"/>${marks.join('')}</g>`;
  });
  const label = `<text class="axis" x="${n2((box.left + width - box.right) / 2)}" y="${height - 3}" text-anchor="middle">${esc(chart.x)}</text>`;
  return (
    `<figure class="chart"><figcaption>${esc(chart.title)}${legend(chart.series)}</figcaption>` +
    `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${esc(chart.description)}">${grid.join('')}${below.join('')}${lines.join('')}${label}</svg></figure>`
  );
}

function legend(series: Series[]): Html {
  if (series.length < 2) return '';
  const sample =
    '<svg viewBox="0 0 26 8" width="26" height="8" aria-hidden="true"><path class="line" d="M0 4L26 4"/></svg>';
  const entries = series.map((s) => `<span class="sample ${roleClass(s.role)}">${sample}${esc(s.label)}</span>`);
  return `<span class="legend">${entries.join('')}</span>`;
}

function xTicks(low: number, high: number, integers: boolean): Axis {
  if (low === high) return { low: low - 1, high: high + 1, ticks: [low] };
  const nice = niceAxis(low, high, integers ? Math.min(6, Math.max(1, high - low)) : 5);
  // The data fill the width; ticks outside of it are dropped.
  const ticks = nice.ticks.filter((t) => t >= low && t <= high && (!integers || Number.isInteger(t)));
  return { low, high, ticks };
}

export interface Dot {
  label: string;
  role: string;
  value: number;
  ci: readonly [number, number];
  /** Value and interval as text, printed beside the row. */
  text: string;
}

/** Rows of dots with their intervals over one axis; `guide` is a dashed line, such as chance. */
export function dotPlot(plot: {
  description: string;
  dots: Dot[];
  guide: { at: number; label: string } | null;
  format: (tick: number) => string;
  /** The axis never spans less than this. */
  minSpan: number;
  /** Values cannot lie outside. */
  bounds: readonly [number, number];
  width?: number;
  /** Room for the labels. */
  left?: number;
}): Html {
  const { width = 460, left = 70, dots, guide } = plot;
  const row = 23;
  const box = { left, right: 138, top: 4, bottom: 22 };
  const height = box.top + dots.length * row + box.bottom;
  const axis = spanAxis(plot);
  const px = (x: number) =>
    box.left +
    ((Math.min(Math.max(x, axis.low), axis.high) - axis.low) / (axis.high - axis.low)) * (width - box.left - box.right);
  const bottom = height - box.bottom;
  const grid = axis.ticks.map(
    (t) =>
      `<line class="grid" x1="${n2(px(t))}" x2="${n2(px(t))}" y1="${box.top}" y2="${bottom}"/>` +
      `<text class="tick" x="${n2(px(t))}" y="${bottom + 15}" text-anchor="middle">${esc(plot.format(t))}</text>`,
  );
  const inView = guide !== null && guide.at >= axis.low && guide.at <= axis.high;
  const line = inView
    ? `<line class="guide" x1="${n2(px(guide.at))}" x2="${n2(px(guide.at))}" y1="${box.top}" y2="${bottom}"><title>${esc(guide.label)}</title></line>`
    : '';
  const marks = dots.map((dot, i) => {
    const y = box.top + row * (i + 0.5);
    return (
      `<g class="${roleClass(dot.role)}"><text class="row" x="${box.left - 8}" y="${y + 4}" text-anchor="end">${esc(dot.label)}</text>` +
      `<line class="whisker" x1="${n2(px(dot.ci[0]))}" x2="${n2(px(dot.ci[1]))}" y1="${y}" y2="${y}"/>` +
      `<circle class="dot" cx="${n2(px(dot.value))}" cy="${y}" r="4.5"/>` +
      `<text class="value" x="${width - box.right + 12}" y="${y + 4}">${esc(dot.text)}</text></g>`
    );
  });
  return `<svg class="dots" viewBox="0 0 ${width} ${height}" role="img" aria-label="${esc(plot.description)}">${grid.join('')}${line}${marks.join('')}</svg>`;
}

function spanAxis(plot: {
  dots: Dot[];
  minSpan: number;
  bounds: readonly [number, number];
  guide: { at: number } | null;
}): Axis {
  let low = min(plot.dots.map((d) => d.ci[0]));
  let high = max(plot.dots.map((d) => d.ci[1]));
  // Chance is drawn in when it lies close; far away it would squeeze what is to be compared.
  if (plot.guide && Math.abs(plot.guide.at - (low + high) / 2) < 1.5 * Math.max(high - low, plot.minSpan)) {
    low = Math.min(low, plot.guide.at);
    high = Math.max(high, plot.guide.at);
  }
  const short = plot.minSpan - (high - low);
  if (short > 0) {
    low -= short / 2;
    high += short / 2;
  }
  const [floor, ceiling] = plot.bounds;
  if (low < floor) [low, high] = [floor, Math.min(ceiling, Math.max(high, high + floor - low))];
  if (high > ceiling) [low, high] = [Math.max(floor, low - (high - ceiling)), ceiling];
  const nice = niceAxis(low, high, 4);
  const ticks = nice.ticks.filter((t) => t >= floor - 1e-12 && t <= ceiling + 1e-12);
  return { low: Math.max(nice.low, floor), high: Math.min(nice.high, ceiling), ticks };
}

/** A difference with its interval around zero, small enough for a table cell; `reach` is the half-width of the axis. */
export function deltaBar(delta: number, ci: readonly [number, number], reach: number, tone: string): Html {
  const [width, height] = [150, 18];
  const px = (x: number) => n2(width / 2 + (Math.min(Math.max(x / reach, -1), 1) * (width - 12)) / 2);
  return (
    `<svg class="delta tone-${tone}" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" aria-hidden="true">` +
    `<line class="zero" x1="${width / 2}" x2="${width / 2}" y1="0" y2="${height}"/>` +
    `<line class="whisker" x1="${px(ci[0])}" x2="${px(ci[1])}" y1="9" y2="9"/><circle class="dot" cx="${px(delta)}" cy="9" r="4"/></svg>`
  );
}

/** Means of at most `buckets` runs of steps: [last step of the run, mean]. Keeps the file small and the line readable. */
export function thin(values: readonly number[], buckets: number): [number, number][] {
  const size = Math.max(1, Math.ceil(values.length / buckets));
  const points: [number, number][] = [];
  for (let at = 0; at < values.length; at += size) {
    const part = values.slice(at, at + size);
    points.push([at + part.length, part.reduce((a, b) => a + b, 0) / part.length]);
  }
  return points;
}

function min(values: number[]): number {
  return values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
}

function max(values: number[]): number {
  return values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
}
