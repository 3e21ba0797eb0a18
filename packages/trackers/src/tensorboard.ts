// TensorBoard event files, written by hand: TFRecord frames around a few fields of tensorflow.Event. One folder per run
// and track. A file is only ever appended to by the process that made it: whoever goes on begins a new one, as
// TensorBoard expects, so a frame that a killed writer left torn stays the last of its file and hides nothing.

import { type FileHandle, mkdir, open, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { decodeScalars, encodeScalars, encodeVersion, framesOf, toFrame } from './tfevents.ts';
import { groupBy, Had, type Point, type TrackedRun, type Tracker } from './tracker.ts';

/** An event file's name starts with the second it was begun in; TensorBoard reads a folder's files in their order. */
const EVENT_FILE = /^events\.out\.tfevents\.(\d{10,})\./;

export class TensorBoardTracker implements Tracker {
  readonly name = 'TensorBoard';
  readonly #folder: string;
  readonly #now: () => number;
  readonly #files = new Map<string, FileHandle>();
  #run = '';

  /** Writes to `<folder>/<run>/<track>/`; show it by `tensorboard --logdir <folder>`. */
  constructor(folder: string, now: () => number = Date.now) {
    this.#folder = path.resolve(folder);
    this.#now = now;
  }

  async open(run: TrackedRun): Promise<Had> {
    await this.close();
    this.#run = run.id;
    const had = new Had();
    for (const track of await foldersIn(path.join(this.#folder, run.id))) {
      for (const file of await this.#eventFiles(track)) {
        for (const frame of framesOf(await readFile(file))) {
          const { step, values } = decodeScalars(frame);
          for (const { tag } of values) had.add({ track, series: tag, step });
        }
      }
    }
    return had;
  }

  async log(points: readonly Point[], signal: AbortSignal): Promise<void> {
    for (const [track, own] of groupBy(points, (point) => point.track)) {
      signal.throwIfAborted();
      const steps = groupBy(own, ({ step, at }) => `${step} ${at}`);
      const frames = [...steps.values()].map((values) =>
        toFrame(
          encodeScalars(
            values[0].at / 1000,
            values[0].step,
            values.map(({ series, value }) => ({ tag: series, value })),
          ),
        ),
      );
      const file = this.#files.get(track) ?? (await this.#begin(track));
      await file.appendFile(Buffer.concat(frames));
      await file.datasync();
    }
  }

  async close(): Promise<void> {
    const files = [...this.#files.values()];
    this.#files.clear();
    await Promise.all(files.map((file) => file.close()));
  }

  /** A new file that sorts behind those that there are, whatever the clock says. */
  async #begin(track: string): Promise<FileHandle> {
    const folder = path.join(this.#folder, this.#run, track);
    await mkdir(folder, { recursive: true });
    const last = (await this.#eventFiles(track)).at(-1);
    const after = last ? Number(EVENT_FILE.exec(path.basename(last))![1]) + 1 : 0;
    const second = Math.max(Math.floor(this.#now() / 1000), after);
    const name = `events.out.tfevents.${String(second).padStart(10, '0')}.fovea.${process.pid}`;
    const file = await open(path.join(folder, name), 'ax');
    this.#files.set(track, file);
    await file.appendFile(toFrame(encodeVersion(second)));
    return file;
  }

  async #eventFiles(track: string): Promise<string[]> {
    const folder = path.join(this.#folder, this.#run, track);
    const names = await readdir(folder);
    return names
      .filter((name) => EVENT_FILE.test(name))
      .sort()
      .map((name) => path.join(folder, name));
  }
}

async function foldersIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}
