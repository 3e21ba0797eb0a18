// The live view of a run: a few lines redrawn in place on a terminal, one line every few seconds where the output goes
// to a file or through turbo. It draws what progress.ts knows and decides nothing.

import type { RunEvent } from '@fovea/jobs';
import type { RunProgress } from './progress.ts';

export interface LiveOptions {
  out: NodeJS.WriteStream;
  env?: NodeJS.ProcessEnv;
  /** Seconds since any fixed moment. */
  now?: () => number;
}

const REDRAW_MS = 200;
const PLAIN_SECONDS = 3;

export class LiveView {
  private readonly out: NodeJS.WriteStream;
  private readonly now: () => number;
  private readonly paint: (code: number, text: string) => string;
  private readonly tty: boolean;
  private progress: RunProgress | null = null;
  private drawn = 0;
  private lastLine = Number.NEGATIVE_INFINITY;
  private timer: NodeJS.Timeout | null = null;

  constructor({ out, env = process.env, now = () => performance.now() / 1000 }: LiveOptions) {
    this.out = out;
    this.now = now;
    this.tty = out.isTTY === true && env.TERM !== 'dumb';
    const colour = this.tty && !env.NO_COLOR;
    this.paint = (code, text) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
  }

  /** Begins to draw. */
  start(progress: RunProgress): void {
    this.progress = progress;
    if (this.tty) this.timer = setInterval(() => this.draw(), REDRAW_MS);
    this.timer?.unref();
  }

  apply(event: RunEvent): void {
    const { progress } = this;
    if (!progress) return;
    const now = this.now();
    const notable = progress.apply(event, now);
    if (event.type === 'retrying') this.note(`${event.job} failed and is tried again: ${event.message}`);
    if (this.tty) return;
    if (notable && event.type !== 'retrying') this.write(milestone(event));
    else if (event.type === 'progress' && now - this.lastLine >= PLAIN_SECONDS) {
      this.lastLine = now;
      this.write(plainLine(progress));
    }
  }

  /** A line that stays. */
  note(text: string): void {
    this.erase();
    this.write(this.paint(33, text));
  }

  /** Stops drawing and leaves the last picture. */
  stop(): void {
    if (this.timer) clearInterval(this.timer);
    this.timer = null;
    if (this.tty && this.progress) this.draw();
    this.drawn = 0;
    this.progress = null;
  }

  private draw(): void {
    const { progress } = this;
    if (!progress) return;
    const width = Math.max(20, (this.out.columns || 80) - 1);
    const lines = picture(progress, Math.min(30, width - 20)).map(([label, text]) => {
      const room = width - 10;
      return `  ${this.paint(2, label.padEnd(8))}${text.length > room ? `${text.slice(0, room - 1)}…` : text}`;
    });
    this.erase();
    this.out.write(`${lines.join('\n')}\n`);
    this.drawn = lines.length;
  }

  private erase(): void {
    if (this.drawn > 0) this.out.write(`\x1b[${this.drawn}A\x1b[0J`);
    this.drawn = 0;
  }

  private write(line: string): void {
    this.out.write(`${line}\n`);
  }
}

/** The lines of the picture as [label, text]. */
export function picture(progress: RunProgress, barWidth: number): [string, string][] {
  const { current, share, eta } = progress;
  const full = Math.round(share * barWidth);
  const bar = `${'█'.repeat(full)}${'░'.repeat(barWidth - full)} ${(100 * share).toFixed(0)} %`;
  const lines: [string, string][] = [['run', progress.run.id]];
  if (current) {
    lines.push([
      'stage',
      `${stageName(current)} · round ${current.round}/${current.rounds} · step ${current.step}/${current.steps}`,
    ]);
    lines.push(['loss', `${number(current.loss)} · ${number(current.imagesPerSecond)} images/s`]);
  } else {
    lines.push(['stage', progress.share < 1 ? 'starting' : 'trained']);
  }
  lines.push(['all', `${bar}${eta === null ? '' : ` · ${duration(eta)} left`}`]);
  if (progress.scoresInAll > 0) lines.push(['evals', evalQueue(progress)]);
  return lines;
}

function plainLine(progress: RunProgress): string {
  const { current, eta } = progress;
  const parts: string[] = [];
  if (current && progress.share < 1) {
    parts.push(`${stageName(current)} round ${current.round}/${current.rounds} step ${current.step}/${current.steps}`);
    parts.push(`loss ${number(current.loss)}`, `${number(current.imagesPerSecond)} images/s`);
  }
  if (progress.scoresInAll > 0) parts.push(`evals ${evalQueue(progress)}`);
  if (eta !== null) parts.push(`${duration(eta)} left`);
  return parts.join(' · ');
}

function milestone(event: RunEvent): string {
  if (event.type === 'committed') {
    const name = stageName(event);
    const loss = event.lossFirst === null ? '' : `, loss ${number(event.lossFirst)} → ${number(event.lossLast)}`;
    return `${name}: round ${event.round} committed as ${event.checkpoint.slice(0, 12)} (${event.steps} steps in ${duration(event.seconds)}${loss})`;
  }
  if (event.type === 'scored')
    return `scored ${event.role} round ${event.round}${event.cached ? ' (known already)' : ''}`;
  return '';
}

function evalQueue(progress: RunProgress): string {
  const { scored, scoresInAll, scoring, reporting } = progress;
  const waiting = progress.scoresWaiting - (scoring ? 1 : 0);
  const now = scoring ? `${scoring.role} round ${scoring.round}: ${scoring.text || 'scoring'}` : null;
  return [
    `${scored}/${scoresInAll} done`,
    waiting > 0 ? `${waiting} waiting` : null,
    now,
    reporting ? 'writing the report' : null,
  ]
    .filter(Boolean)
    .join(' · ');
}

function stageName({ stage, track }: { stage: string; track: string }): string {
  return track === 'trunk' ? stage : `${stage} ${track}`;
}

/** Three significant digits, and no more than the number has. */
export function number(value: number | null): string {
  if (value === null || !Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  const magnitude = Math.abs(value);
  return magnitude >= 1000 || magnitude < 0.001
    ? magnitude >= 1000
      ? value.toFixed(0)
      : value.toExponential(2)
    : value.toPrecision(3);
}

/** Seconds as a person says them: 8 s, 2 min 10 s, 1 h 5 min. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return seconds < 10 && whole !== seconds ? `${seconds.toFixed(1)} s` : `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${whole % 60} s` : ''}`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
