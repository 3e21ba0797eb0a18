// The answers of an evaluation on the disk, `preds.jsonl`: appended and synced as they come, so that a process that is
// killed loses at most the last few; a line that was torn is cut off when the file is opened again. Finished, the lines
// stand in the order of the items, so that no interruption can be seen in them.

import { type FileHandle, open, stat } from 'node:fs/promises';
import path from 'node:path';
import { explainDisk, FoveaError, replaceFile, syncFolder } from '@fovea/artifacts';
import { linesOf, parseAs, parseJson, readBounded } from '../suite/safe-files.ts';
import { canonicalLines } from '../suite/suite-of.ts';
import { type Prediction, predictionSchema } from './answer.ts';

/** Rows that may be lost when the machine goes down. */
const SYNC_ROWS = 16;
const MAX_FILE = 500 * 2 ** 20;

export interface LogWhere {
  /** The key that every row must carry. */
  runKey: string;
  /** Ids of the items, in their order. */
  ids: readonly string[];
}

export class PredictionLog {
  /** Answered ids. */
  readonly answered: Set<string>;
  readonly #file: string;
  readonly #where: LogWhere;
  readonly #handle: FileHandle;

  private constructor(file: string, where: LogWhere, handle: FileHandle, answered: Set<string>) {
    this.#file = file;
    this.#where = where;
    this.#handle = handle;
    this.answered = answered;
  }

  /** Opens the file or makes it, and cuts a torn last line off. Throws a FoveaError for rows that are not of this evaluation. */
  static async open(file: string, where: LogWhere): Promise<PredictionLog> {
    const { rows, whole } = await readRows(file, where);
    try {
      const handle = await open(file, 'a');
      if ((await handle.stat()).size !== whole) await handle.truncate(whole);
      await handle.sync();
      await syncFolder(path.dirname(path.resolve(file)));
      return new PredictionLog(file, where, handle, new Set(rows.map((row) => row.itemId)));
    } catch (error) {
      throw explainDisk(error, `The answers "${file}" cannot be written`);
    }
  }

  /** Appends rows and brings them to the disk. */
  async append(rows: readonly Prediction[]): Promise<void> {
    try {
      for (let at = 0; at < rows.length; at += SYNC_ROWS) {
        const some = rows.slice(at, at + SYNC_ROWS);
        await this.#handle.appendFile(canonicalLines(some));
        await this.#handle.sync();
        for (const { itemId } of some) this.answered.add(itemId);
      }
    } catch (error) {
      throw explainDisk(error, `The answers "${this.#file}" cannot be written`);
    }
  }

  /** Puts the lines in the order of the items, where they are not. */
  async finish(): Promise<void> {
    const { rows } = await readRows(this.#file, this.#where);
    const byId = new Map(rows.map((row) => [row.itemId, row]));
    const ordered = this.#where.ids.flatMap((id) => byId.get(id) ?? []);
    if (ordered.every((row, i) => row === rows[i])) return;
    await replaceFile(this.#file, canonicalLines(ordered)).catch((error) => {
      throw explainDisk(error, `The answers "${this.#file}" cannot be written`);
    });
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** Every answer that stands in a file, in its order. A torn last line is left out; no file is no answers. */
export async function readPredictions(file: string, where: LogWhere): Promise<Prediction[]> {
  return (await readRows(file, where)).rows;
}

/** Takes the rows out for which `isStale` holds, so that they are asked again; returns how many. */
export async function dropPredictions(
  file: string,
  where: LogWhere,
  isStale: (row: Prediction) => boolean,
): Promise<number> {
  const { rows } = await readRows(file, where);
  const kept = rows.filter((row) => !isStale(row));
  if (kept.length < rows.length) await replaceFile(file, canonicalLines(kept));
  return rows.length - kept.length;
}

/** The rows, and the bytes up to the end of the last whole line. */
async function readRows(file: string, { runKey, ids }: LogWhere): Promise<{ rows: Prediction[]; whole: number }> {
  const isThere = await stat(file).then(
    () => true,
    (error) => (error.code === 'ENOENT' ? false : Promise.reject(error)),
  );
  if (!isThere) return { rows: [], whole: 0 };
  const what = `The file of answers "${file}"`;
  const bytes = await readBounded(file, MAX_FILE, what);
  const whole = bytes.lastIndexOf(0x0a) + 1;
  const known = new Set(ids);
  const rows: Prediction[] = [];
  for (const [line, number] of linesOf(bytes.subarray(0, whole).toString(), what)) {
    const where = `${what}, line ${number},`;
    const row = parseAs(predictionSchema, parseJson(line, where), where);
    if (row.runKey !== runKey)
      throw new FoveaError(
        `${where} belongs to another evaluation (key ${row.runKey.slice(0, 12)}); take another folder.`,
      );
    if (!known.delete(row.itemId))
      throw new FoveaError(
        ids.includes(row.itemId)
          ? `${where} answers "${row.itemId}" a second time; remove one of the lines.`
          : `${where} answers "${row.itemId}", which the suite does not ask; remove the line.`,
      );
    rows.push(row);
  }
  return { rows, whole };
}
