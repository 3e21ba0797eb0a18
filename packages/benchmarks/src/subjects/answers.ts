// Answers that were given elsewhere, from files: JSON lines joined to questions by id, or by picture and question as in
// POPE's published answer files, never by their place in the file. A file that leaves a question out is refused.

import { open } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError, sha256Hex } from '@fovea/artifacts';
import { z } from 'zod';
import type { Answer } from '../judging/answer.ts';
import type { Item } from '../suite/item.ts';
import type { Suite } from '../suite/suite.ts';
import type { Request, Subject } from './subject.ts';

const text = z.string().max(100_000);
const row = z
  .looseObject({
    /** As the suite names its question. */
    itemId: z.string().optional(),
    /** As its source does: of ids such as `random/17`, the last part. */
    question_id: z.union([z.int(), z.string()]).optional(),
    image: z.string().optional(),
    question: z.string().optional(),
    split: z.string().optional(),
    answer: text.optional(),
    text: text.optional(),
    caption: text.optional(),
    /** A number per option, higher is likelier. */
    scores: z.array(z.number()).min(2).optional(),
  })
  .refine((r) => r.answer !== undefined || r.text !== undefined || r.caption !== undefined || r.scores !== undefined, {
    message: 'it has no answer',
  })
  .refine(
    (r) => r.itemId !== undefined || r.question_id !== undefined || r.question !== undefined || r.image !== undefined,
    {
      message: 'it has no itemId, no question_id, and no question or image to be joined by',
    },
  );

interface Row extends z.infer<typeof row> {
  /** For errors: `"answers.jsonl" line 3`. */
  where: string;
  /** Name of its file. */
  file: string;
}

const MOST_BYTES = 2 ** 28;

/** Reads the files. Throws a FoveaError that names the line for what is no answer. */
export async function answersSubject(files: readonly string[]): Promise<Subject> {
  const rows: Row[] = [];
  const hashes: string[] = [];
  for (const file of files) {
    const content = await readBounded(file);
    hashes.push(sha256Hex(content));
    rows.push(...parseRows(path.basename(file), content));
  }
  return new AnswersSubject(rows, { answers: hashes.sort() });
}

async function readBounded(file: string): Promise<string> {
  const refuse = (why: string): never => {
    throw new FoveaError(`The answers "${path.basename(file)}" cannot be read: ${why}; check the path.`);
  };
  const handle = await open(file).catch(({ code }) => refuse(code === 'ENOENT' ? 'there is no such file' : code));
  try {
    const info = await handle.stat();
    if (!info.isFile()) return refuse('it is no file');
    if (info.size > MOST_BYTES) return refuse(`it has ${info.size} bytes, more than ${MOST_BYTES}`);
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

function parseRows(file: string, content: string): Row[] {
  const lines = content.split('\n').entries();
  return [...lines].flatMap(([at, line]) => {
    if (line.trim() === '') return [];
    const where = `"${file}" line ${at + 1}`;
    const refuse = (why: string): never => {
      throw new FoveaError(`The answer in ${where} cannot be used: ${why}; mend that line.`);
    };
    let json: unknown;
    try {
      json = JSON.parse(line);
    } catch {
      return refuse('it is not JSON');
    }
    if (typeof json === 'object' && json !== null && Object.hasOwn(json, '__proto__'))
      return refuse('it has the key "__proto__"');
    const result = row.safeParse(json);
    if (result.success) return [{ ...result.data, where, file }];
    const [{ path: at2, message }] = result.error.issues;
    return refuse([...at2.map(String), message].join(' — '));
  });
}

class AnswersSubject implements Subject {
  readonly kind = 'language-model';
  readonly identity: Record<string, unknown>;
  readonly #rows: readonly Row[];
  #answers = new Map<string, Answer>();

  constructor(rows: readonly Row[], identity: Record<string, unknown>) {
    this.#rows = rows;
    this.identity = identity;
  }

  refuses(): string | null {
    return null;
  }

  /** Joins. Throws a FoveaError where a row could be meant for several questions, two rows differ, or a question has none. */
  async prepare(suite: Suite): Promise<void> {
    const index = new Questions(suite);
    const answers = new Map<string, Answer>();
    for (const row of this.#rows) {
      const answer = answerOf(row);
      for (const { id } of index.of(row)) {
        const before = answers.get(id);
        if (before && JSON.stringify(before) !== JSON.stringify(answer))
          throw new FoveaError(
            `The question ${id} is answered again, otherwise, in ${row.where}; leave one answer to it.`,
          );
        answers.set(id, answer);
      }
    }
    const missing = suite.items.filter(({ id }) => !answers.has(id));
    if (missing.length > 0)
      throw new FoveaError(
        `The files answer ${suite.items.length - missing.length} of the ${suite.items.length} questions of ${suite.manifest.name}, and lack ${missing[0].id}; a suite is scored whole.`,
      );
    this.#answers = answers;
  }

  async answer(requests: readonly Request[]): Promise<Answer[]> {
    return requests.map(({ item }) => {
      const answer = this.#answers.get(item.id);
      if (answer) return answer;
      return { kind: 'error', message: `The files have no answer to ${item.id}.`, attempts: 1 };
    });
  }

  async dispose(): Promise<void> {}
}

function answerOf(row: Row): Answer {
  if (row.scores) return { kind: 'scores', scores: row.scores };
  const said = row.answer ?? row.text ?? row.caption ?? '';
  return { kind: 'text', text: said, tokens: null, finish: 'stop' };
}

const spaced = (words: string): string => words.replaceAll(/\s+/g, ' ').trim();
const questionOf = ({ ask }: Item): string => ('question' in ask ? spaced(ask.question) : '');
const imageOf = ({ pictures: [picture] }: Item): string =>
  picture.kind === 'file' ? path.posix.basename(picture.path) : '';

/** A suite's questions by what rows name them by. */
class Questions {
  readonly #suite: Suite;
  readonly #splits: string[];
  readonly #byId = new Map<string, Item>();
  readonly #byNumber = new Map<string, Item[]>();
  readonly #byWords = new Map<string, Item[]>();

  constructor(suite: Suite) {
    this.#suite = suite;
    this.#splits = [...new Set(suite.items.map(({ split }) => split))];
    const put = (map: Map<string, Item[]>, key: string, item: Item) => map.set(key, [...(map.get(key) ?? []), item]);
    for (const item of suite.items) {
      this.#byId.set(item.id, item);
      for (const number of new Set([item.id, item.id.slice(item.id.lastIndexOf('/') + 1)]))
        put(this.#byNumber, number, item);
      const [image, question] = [imageOf(item), questionOf(item)];
      for (const key of new Set([`${image}\n${question}`, `\n${question}`, `${image}\n`]))
        put(this.#byWords, key, item);
    }
  }

  /** The questions that a row answers: one, or several of the same words about the same picture; none of another suite's. */
  of(row: Row): Item[] {
    const image = row.image === undefined ? '' : path.posix.basename(row.image.replaceAll('\\', '/'));
    const question = row.question === undefined ? '' : spaced(row.question);
    const named = row.itemId !== undefined ? this.#byId.get(row.itemId) : undefined;
    const given = row.itemId !== undefined ? (named ? [named] : []) : this.#found(row, image, question);
    const split = row.split ?? this.#splitOf(row.file);
    const found = split === undefined ? given : given.filter((item) => item.split === split);
    for (const item of found) this.#check(row, item, image, question);
    const kinds = new Set(found.map((item) => `${imageOf(item)}\n${questionOf(item)}`));
    const isUnclear = kinds.size > 1 || (found.length > 1 && row.question_id === undefined && image === '');
    if (isUnclear)
      throw new FoveaError(
        `The answer in ${row.where} could be to ${found.length} questions of ${this.#suite.manifest.name}, such as ${found[0].id} and ${found[1].id}; add itemId, or image and question, or name the file after its split.`,
      );
    return found;
  }

  #found(row: Row, image: string, question: string): Item[] {
    if (row.question_id === undefined) return this.#byWords.get(`${image}\n${question}`) ?? [];
    return this.#byNumber.get(String(row.question_id)) ?? [];
  }

  /** The one split that a file's name has in it. */
  #splitOf(file: string): string | undefined {
    const words = file.toLowerCase().split(/[^a-z0-9]+/);
    const named = this.#splits.filter((split) => words.includes(split.toLowerCase()));
    return named.length === 1 ? named[0] : undefined;
  }

  /** A row that names a question by id and says other words or another picture is of another version of the suite. */
  #check(row: Row, item: Item, image: string, question: string): void {
    const other =
      image !== '' && imageOf(item) !== '' && image !== imageOf(item)
        ? `is about ${image}, and ${item.id} about ${imageOf(item)}`
        : question !== '' && questionOf(item) !== '' && !question.startsWith(questionOf(item))
          ? `is to "${question.slice(0, 100)}", and ${item.id} asks "${questionOf(item).slice(0, 100)}"`
          : null;
    if (other) throw new FoveaError(`The answer in ${row.where} ${other}; take the answers to this suite's questions.`);
  }
}
