// A tracker that can do no harm: a bounded queue in front of it and one loop that empties it. Whoever offers points
// never waits and never hears of an error; a tracker that hangs, throws or is away is tried again with growing pauses,
// and every other sink goes on meanwhile.

import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Had,
  MAX_POINTS,
  type Outcome,
  type Point,
  reasonOf,
  type TrackedRun,
  type Tracker,
  TrackerBusy,
  TrackerRefusal,
} from './tracker.ts';

export interface SinkOptions {
  /** Takes a sentence for the operator: the first failure, the return, what was lost. */
  say(message: string): void;
  /** Points that may wait; beyond it the oldest are dropped. @defaultValue 10000 */
  bound?: number;
  /** A call that takes longer has failed, in milliseconds. @defaultValue 30000 */
  callMs?: number;
  /** Pause after the first failure and the longest one, in milliseconds; it doubles in between. @defaultValue [500, 60000] */
  retryMs?: readonly [number, number];
  /** For the pauses' jitter: uniform in [0, 1). @defaultValue Math.random */
  random?: () => number;
}

export class Sink {
  readonly name: string;
  readonly #tracker: Tracker;
  readonly #run: TrackedRun;
  readonly #options: Required<SinkOptions>;
  readonly #stop = new AbortController();
  readonly #hurry = new AbortController();
  readonly #queue = new Fifo<Point>();
  /** Taken from the queue and not yet known to be kept. */
  #inFlight: Point[] = [];
  #had: Had | null = null;
  #loop: Promise<void> | null = null;
  #failures = 0;
  #said = new Set<'down' | 'back' | 'refused'>();
  #dropped = 0;

  constructor(tracker: Tracker, run: TrackedRun, options: SinkOptions) {
    this.name = tracker.name;
    this.#tracker = tracker;
    this.#run = run;
    this.#options = { bound: 10_000, callMs: 30_000, retryMs: [500, 60_000], random: Math.random, ...options };
  }

  /** Points that wait. */
  get size(): number {
    return this.#queue.length + this.#inFlight.length;
  }

  /** Points that were given up: pushed out by newer ones, refused by the tracker, or left when it was closed. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Takes points and returns at once. */
  offer(points: readonly Point[]): void {
    if (this.#stop.signal.aborted) {
      this.#dropped += points.length;
      return;
    }
    for (const point of points) this.#queue.push(point);
    this.#trim();
    // Never on an empty queue: the loop would end, and take its name off, before it has it.
    if (this.size > 0) this.#loop ??= this.#drain();
  }

  /** Resolves when nothing waits any more, which a tracker that is away can put off for ever, or the sink is closed. */
  async idle(): Promise<void> {
    while (this.#loop) await this.#loop;
  }

  /** From now on waits no longer than the first pause between two tries. */
  hurry(): void {
    this.#hurry.abort();
  }

  /** Delivers what it can within `ms`, ends the run there, and says how much was lost. Never throws. */
  async close(outcome: Outcome, ms = 5000): Promise<{ dropped: number }> {
    const timer = setTimeout(() => this.#stop.abort(new Error('no time is left')), ms);
    this.hurry();
    await this.idle();
    // Opened even where there was nothing to write: the run may have been left as running by an earlier session.
    await this.#end(outcome).catch((error) => this.#complain(error));
    clearTimeout(timer);
    this.#stop.abort(new Error('the sink is closed'));
    this.#dropped += this.size;
    this.#queue.take(this.#queue.length);
    this.#inFlight = [];
    if (this.#dropped > 0) this.#options.say(`${this.name} did not get ${this.#dropped} points of ${this.#run.id}.`);
    return { dropped: this.#dropped };
  }

  async #end(outcome: Outcome): Promise<void> {
    if (!this.#had) await this.#within((signal) => this.#tracker.open(this.#run, signal));
    await this.#within((signal) => this.#tracker.close(outcome, signal));
  }

  async #drain(): Promise<void> {
    while (this.size > 0 && !this.#stop.signal.aborted) {
      try {
        await this.#deliver();
        if (this.#failures > 0) this.#sayOnce('back', `${this.name} is back; what it missed is being sent.`);
        this.#failures = 0;
      } catch (error) {
        await this.#failed(error);
      }
    }
    this.#loop = null;
  }

  async #deliver(): Promise<void> {
    this.#had ??= await this.#within((signal) => this.#tracker.open(this.#run, signal));
    const had = this.#had;
    if (this.#inFlight.length === 0) this.#inFlight = this.#queue.take(MAX_POINTS);
    const fresh = this.#inFlight.filter((point) => !had.has(point));
    if (fresh.length > 0) await this.#within((signal) => this.#tracker.log(fresh, signal));
    for (const point of fresh) had.add(point);
    this.#inFlight = [];
  }

  /** What failed may have been half done: the tracker is opened anew, and tells what it has. */
  async #failed(error: unknown): Promise<void> {
    this.#had = null;
    if (error instanceof TrackerRefusal) {
      this.#dropped += this.#inFlight.length;
      this.#inFlight = [];
      this.#sayOnce('refused', `${this.name} refuses points of ${this.#run.id}: ${error.message}.`);
      return;
    }
    this.#complain(error);
    const [first, most] = this.#options.retryMs;
    const asked = error instanceof TrackerBusy ? error.retryAfterMs : 0;
    const pause = Math.min(most, Math.max(asked, first * 2 ** Math.min(this.#failures++, 30)));
    await this.#pause(pause * (0.5 + this.#options.random() / 2));
  }

  #complain(error: unknown): void {
    this.#sayOnce(
      'down',
      `${this.name} cannot be written to (${reasonOf(error)}); the run goes on, and its points wait.`,
    );
  }

  #sayOnce(what: 'down' | 'back' | 'refused', message: string): void {
    if (this.#said.has(what)) return;
    this.#said.add(what);
    this.#options.say(message);
  }

  /** A pause that a closing sink cuts short; once it is closing, pauses are the shortest ones. */
  async #pause(ms: number): Promise<void> {
    const closing = this.#hurry.signal.aborted;
    const signal = closing ? this.#stop.signal : AbortSignal.any([this.#stop.signal, this.#hurry.signal]);
    await sleep(closing ? Math.min(ms, this.#options.retryMs[0]) : ms, undefined, { signal }).catch(() => undefined);
  }

  /** A call that is given up after `callMs` or when the sink is closed, whether it heeds the signal or not. */
  async #within<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const limit = new AbortController();
    const stop = () => limit.abort(this.#stop.signal.reason);
    const timer = setTimeout(
      () => limit.abort(new Error(`no answer in ${this.#options.callMs} ms`)),
      this.#options.callMs,
    );
    this.#stop.signal.addEventListener('abort', stop, { once: true });
    if (this.#stop.signal.aborted) stop();
    const { signal } = limit;
    try {
      const over = new Promise<never>((_resolve, reject) => {
        if (signal.aborted) reject(signal.reason);
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      });
      return await Promise.race([over, call(signal)]);
    } finally {
      clearTimeout(timer);
      this.#stop.signal.removeEventListener('abort', stop);
    }
  }

  #trim(): void {
    const over = this.size - this.#options.bound;
    if (over > 0) this.#dropped += this.#queue.take(over).length;
  }
}

/** A queue whose ends both cost nothing. */
class Fifo<T> {
  #items: T[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  /** Removes the oldest `n`, or as many as there are. */
  take(n: number): T[] {
    const taken = this.#items.slice(this.#head, this.#head + n);
    this.#head += taken.length;
    if (this.#head > this.#items.length / 2) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return taken;
  }
}
