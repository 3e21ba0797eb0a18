// The drawings of judged suites as inline SVG: radar, heat map, reliability diagram, and the plane of yes-ratio and d′.
// Nothing is told by colour alone: runs differ in marker and line pattern too, and cells carry their number.

import { type Bin, calibrationError } from '../../metrics/calibration.ts';
import { niceAxis } from '../../report/charts.ts';
import { esc, fixed, type Html } from '../../report/html.ts';
import { roleOf } from './words.ts';

const n1 = (x: number): string => String(Math.round(10 * x) / 10);

/** A marker at (x, y) in the form of the run at a place. */
export function marker(at: number, x: number, y: number, r = 4.5): Html {
  const d = 1.25 * r;
  const forms = [
    `<circle class="dot" cx="${n1(x)}" cy="${n1(y)}" r="${r}"/>`,
    `<rect class="dot" x="${n1(x - r)}" y="${n1(y - r)}" width="${2 * r}" height="${2 * r}"/>`,
    `<path class="dot" d="M${n1(x)} ${n1(y - d)}L${n1(x + d)} ${n1(y + r)}L${n1(x - d)} ${n1(y + r)}Z"/>`,
    `<path class="dot" d="M${n1(x)} ${n1(y - d)}L${n1(x + d)} ${n1(y)}L${n1(x)} ${n1(y + d)}L${n1(x - d)} ${n1(y)}Z"/>`,
  ];
  return forms[at % forms.length];
}

/** Which run has which marker and line; nothing for a single one. */
export function runLegend(runs: readonly { label: string; at: number }[]): Html {
  if (runs.length < 2) return '';
  const entries = runs.map(
    ({ label, at }) =>
      `<span class="sample role-${roleOf(at)}"><svg viewBox="0 0 30 12" width="30" height="12" aria-hidden="true"><path class="line" d="M0 6L30 6"/>${marker(at, 15, 6, 4)}</svg>${esc(label)}</span>`,
  );
  return `<span class="legend">${entries.join('')}</span>`;
}

export function figure(
  title: string,
  description: string,
  size: readonly [number, number],
  body: Html,
  legend: Html = '',
): Html {
  return (
    `<figure class="chart"><figcaption>${esc(title)}${legend}</figcaption>` +
    `<svg viewBox="0 0 ${size[0]} ${size[1]}" role="img" aria-label="${esc(description)}">${body}</svg></figure>`
  );
}

export interface Radar {
  title: string;
  axes: string[];
  /** A share per axis; null where a run has none. */
  runs: { label: string; at: number; values: (number | null)[] }[];
  chance: number | null;
}

/** Shares by pattern, 0 % in the middle and 100 % at the rim. */
export function radar({ title, axes, runs, chance }: Radar): Html {
  const [width, height, radius] = [560, 372, 122];
  const [cx, cy] = [width / 2, height / 2];
  const point = (k: number, value: number): [number, number] => {
    const angle = (2 * Math.PI * k) / axes.length - Math.PI / 2;
    return [cx + radius * value * Math.cos(angle), cy + radius * value * Math.sin(angle)];
  };
  const ring = (value: number) =>
    `${axes.map((_, k) => `${k === 0 ? 'M' : 'L'}${point(k, value).map(n1).join(' ')}`).join('')}Z`;
  const rings = [0.25, 0.5, 0.75, 1].map(
    (value) =>
      `<path class="grid" fill="none" d="${ring(value)}"/><text class="tick" x="${cx + 4}" y="${n1(cy - radius * value + 11)}">${100 * value}</text>`,
  );
  const spokes = axes.map((label, k) => {
    const [x, y] = point(k, 1);
    const [tx, ty] = point(k, 1.1);
    const side = Math.abs(tx - cx) < 12 ? 'middle' : tx > cx ? 'start' : 'end';
    return `<line class="grid" x1="${cx}" y1="${cy}" x2="${n1(x)}" y2="${n1(y)}"/>${wrapped(label, tx, ty, side)}`;
  });
  const guess =
    chance === null ? '' : `<path class="guide" fill="none" d="${ring(chance)}"><title>chance</title></path>`;
  const shapes = runs.map(({ at, values }) => {
    const known = values.flatMap((value, k) => (value === null ? [] : [point(k, value)]));
    const path = known.map(([x, y], i) => `${i === 0 ? 'M' : 'L'}${n1(x)} ${n1(y)}`).join('');
    return `<g class="role-${roleOf(at)}"><path class="area line" d="${path}Z"/>${known.map(([x, y]) => marker(at, x, y, 3.5)).join('')}</g>`;
  });
  const said = runs.map(
    ({ label, values }) =>
      `${label}: ${axes.map((axis, k) => `${axis} ${values[k] === null ? 'none' : `${fixed(100 * (values[k] as number), 0)} %`}`).join(', ')}`,
  );
  const note = chance === null ? '' : ` The dashed ring is chance, ${fixed(100 * chance, 0)} %.`;
  return figure(
    title,
    `${title}. ${said.join('; ')}.${note}`,
    [width, height],
    rings.join('') + spokes.join('') + guess + shapes.join(''),
    runLegend(runs),
  );
}

/** A label in lines of at most about sixteen letters, around (x, y). */
function wrapped(label: string, x: number, y: number, anchor: string): Html {
  const lines: string[] = [];
  for (const word of label.split(' ')) {
    const last = lines[lines.length - 1];
    if (last !== undefined && `${last} ${word}`.length <= 16) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  const top = y + 4 - ((lines.length - 1) * 13) / 2;
  const spans = lines.map((line, i) => `<tspan x="${n1(x)}" y="${n1(top + 13 * i)}">${esc(line)}</tspan>`);
  return `<text class="row" text-anchor="${anchor}">${spans.join('')}</text>`;
}

export interface HeatMap {
  title: string;
  at: number;
  rows: string[];
  columns: string[];
  /** Shares, [rows][columns]; null where nothing was asked. */
  values: (number | null)[][];
}

/** Shares as cells: the higher, the fuller the colour; each cell has its number in per cent. */
export function heatMap({ title, at, rows, columns, values }: HeatMap): Html {
  const [left, top, cell, row] = [150, 26, 62, 25];
  const [width, height] = [left + columns.length * cell + 4, top + rows.length * row + 4];
  const head = columns.map(
    (name, c) =>
      `<text class="tick" x="${left + cell * (c + 0.5)}" y="${top - 9}" text-anchor="middle">${esc(name)}</text>`,
  );
  const lines = rows.map((name, r) => {
    const y = top + row * r;
    const cells = values[r].map((value, c) => {
      const x = left + cell * c;
      if (value === null) return `<text class="tick" x="${x + cell / 2}" y="${y + 17}" text-anchor="middle">–</text>`;
      const full = Math.min(1, Math.max(0, value));
      return (
        `<rect class="cell" x="${x + 1}" y="${y + 1}" width="${cell - 2}" height="${row - 2}" rx="3" fill-opacity="${n2(0.06 + 0.94 * full)}"/>` +
        `<text class="cell-text${full > 0.75 ? ' on-full' : ''}" x="${x + cell / 2}" y="${y + 17}" text-anchor="middle">${fixed(100 * value, 0)}</text>`
      );
    });
    return `<text class="row" x="${left - 8}" y="${y + 17}" text-anchor="end">${esc(name)}</text>${cells.join('')}`;
  });
  const said = rows.map(
    (name, r) => `${name} ${values[r].map((v) => (v === null ? 'none' : fixed(100 * v, 0))).join(' ')}`,
  );
  return figure(
    title,
    `${title}, ${columns.join(', ')}: ${said.join('; ')}.`,
    [width, height],
    `<g class="role-${roleOf(at)}">${head.join('')}${lines.join('')}</g>`,
  );
}

const n2 = (x: number): string => String(Math.round(100 * x) / 100);

/** Accuracy by confidence: points on the diagonal are honest, below it overconfident. Bars below count answers. */
export function reliability(title: string, at: number, bins: readonly Bin[]): Html {
  const [width, height, left, top, side, bars] = [520, 350, 46, 10, 250, 44];
  const plot = width - left - 12;
  const px = (x: number) => left + plot * x;
  const py = (y: number) => top + side * (1 - y);
  const base = top + side + bars + 8;
  const most = Math.max(...bins.map((bin) => bin.n), 1);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map(
    (t) =>
      `<line class="grid" x1="${left}" x2="${width - 12}" y1="${n1(py(t))}" y2="${n1(py(t))}"/><text class="tick" x="${left - 7}" y="${n1(py(t) + 4)}" text-anchor="end">${100 * t}</text>` +
      `<text class="tick" x="${n1(px(t))}" y="${base + 15}" text-anchor="middle">${100 * t}</text>`,
  );
  const drawn = bins.map((bin) => {
    if (bin.n === 0 || bin.accuracy === null || bin.confidence === null) return '';
    const [x, y] = [px(bin.confidence), py(bin.accuracy)];
    const tall = (bars * bin.n) / most;
    return (
      `<rect class="bar" x="${n1(px(bin.low) + 1)}" y="${n1(base - tall)}" width="${n1(Math.max(2, px(bin.high) - px(bin.low) - 2))}" height="${n1(tall)}"/>` +
      `<line class="gap" x1="${n1(x)}" x2="${n1(x)}" y1="${n1(y)}" y2="${n1(py(bin.confidence))}"/>${marker(at, x, y, 4)}`
    );
  });
  const error = calibrationError(bins);
  const asked = bins.filter((bin) => bin.n > 0);
  const said = asked.map(
    (bin) =>
      `${fixed(100 * (bin.confidence ?? 0), 0)} % sure, ${fixed(100 * (bin.accuracy ?? 0), 0)} % right, ${bin.n} answers`,
  );
  const label = `<text class="axis" x="${left + plot / 2}" y="${base + 31}" text-anchor="middle">confidence, %</text><text class="axis" transform="translate(11 ${top + side / 2}) rotate(-90)" text-anchor="middle">right, %</text>`;
  const diagonal = `<line class="guide" x1="${px(0)}" y1="${py(0)}" x2="${px(1)}" y2="${py(1)}"/>`;
  const text = error === null ? title : `${title}, ECE ${fixed(error, 3)}`;
  return figure(
    text,
    `${text}: ${said.join('; ')}.`,
    [width, height],
    `<g class="role-${roleOf(at)}">${ticks.join('')}${diagonal}${drawn.join('')}</g>${label}`,
  );
}

export interface PlanePoint {
  label: string;
  at: number;
  split: string;
  yesRatio: number;
  dPrime: number;
  /** Interval of d′. */
  ci: { low: number; high: number } | null;
}

/** Yes-ratio across, d′ up: what moves up sees better, what moves sideways says yes more or less readily. */
export function yesNoPlane(title: string, points: readonly PlanePoint[], goldYes: number): Html {
  const [width, height, left, right, top, bottom] = [520, 300, 52, 16, 12, 42];
  const ys = points.flatMap(({ dPrime, ci }) => [dPrime, ci?.low ?? dPrime, ci?.high ?? dPrime]);
  const xs = points.map(({ yesRatio }) => yesRatio).concat(goldYes);
  const pad = 0.05;
  const xAxis = niceAxis(Math.max(0, Math.min(...xs) - pad), Math.min(1, Math.max(...xs) + pad), 5);
  const yAxis = niceAxis(Math.min(0, ...ys), Math.max(0.5, ...ys), 4);
  const px = (x: number) => left + ((x - xAxis.low) / (xAxis.high - xAxis.low)) * (width - left - right);
  const py = (y: number) => height - bottom - ((y - yAxis.low) / (yAxis.high - yAxis.low)) * (height - top - bottom);
  const grid = [
    ...yAxis.ticks.map(
      (t) =>
        `<line class="${t === 0 ? 'zero' : 'grid'}" x1="${left}" x2="${width - right}" y1="${n1(py(t))}" y2="${n1(py(t))}"/><text class="tick" x="${left - 7}" y="${n1(py(t) + 4)}" text-anchor="end">${fixed(t, 1)}</text>`,
    ),
    ...xAxis.ticks.map(
      (t) =>
        `<text class="tick" x="${n1(px(t))}" y="${height - bottom + 16}" text-anchor="middle">${fixed(100 * t, 0)}</text>`,
    ),
  ];
  const guide = `<line class="guide" x1="${n1(px(goldYes))}" x2="${n1(px(goldYes))}" y1="${top}" y2="${height - bottom}"><title>share of yes that is right</title></line>`;
  const places = apart(points.map(({ yesRatio, dPrime }) => [px(yesRatio), py(dPrime)]));
  const dots = points.map(({ at, split, yesRatio, dPrime, ci }, i) => {
    const [x, y] = [px(yesRatio), py(dPrime)];
    const whisker = ci
      ? `<line class="whisker" x1="${n1(x)}" x2="${n1(x)}" y1="${n1(py(ci.low))}" y2="${n1(py(ci.high))}"/>`
      : '';
    const [tx, ty] = places[i];
    const flip = tx > width - 110;
    const leader = `<line class="guide" x1="${n1(x)}" y1="${n1(y)}" x2="${n1(tx + (flip ? -8 : 8))}" y2="${n1(ty)}"/>`;
    return `<g class="role-${roleOf(at)}">${whisker}${leader}${marker(at, x, y)}<text class="row" x="${n1(tx + (flip ? -10 : 10))}" y="${n1(ty + 4)}" text-anchor="${flip ? 'end' : 'start'}">${esc(split)}</text></g>`;
  });
  const labels = `<text class="axis" x="${n1((left + width - right) / 2)}" y="${height - 5}" text-anchor="middle">answers that are yes, %; dashed: the right share</text><text class="axis" transform="translate(12 ${(top + height - bottom) / 2}) rotate(-90)" text-anchor="middle">d′</text>`;
  const said = points.map(
    (p) => `${p.label}, ${p.split}: yes ${fixed(100 * p.yesRatio, 1)} %, d′ ${fixed(p.dPrime, 2)}`,
  );
  const runs = [...new Map(points.map(({ label, at }) => [at, { label, at }])).values()];
  return figure(
    title,
    `${title}. ${said.join('; ')}.`,
    [width, height],
    grid.join('') + guide + dots.join('') + labels,
    runLegend(runs),
  );
}

/** Where labels of points go so that none covers another: beside the rightmost of points that lie close, one below the other. */
function apart(points: readonly [number, number][]): [number, number][] {
  const order = points.map((_, i) => i).sort((i, j) => points[i][1] - points[j][1]);
  const places: [number, number][] = points.map(([x, y]) => [x, y]);
  order.forEach((i, k) => {
    const near = order.slice(0, k).filter((j) => Math.abs(points[j][0] - points[i][0]) < 80);
    for (const j of near) places[i][1] = Math.max(places[i][1], places[j][1] + 14);
    const close = points.filter(([x, y]) => Math.abs(x - points[i][0]) < 40 && Math.abs(y - points[i][1]) < 40);
    places[i][0] = Math.max(...close.map(([x]) => x));
  });
  return places;
}
