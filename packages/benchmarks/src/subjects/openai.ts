// A language model behind a server that speaks OpenAI's chat completions (vLLM, llama.cpp, Ollama, …) as a subject: pictures
// go as PNG in the request, yes and no and options are scored by the log-probabilities of the first token where the server
// gives them, and are words otherwise. What weights such a server runs cannot be hashed, and the identity says so.

import { FoveaError, isUserError } from '@fovea/artifacts';
import { philox } from '@fovea/tensor/random';
import { z } from 'zod';
import type { Answer } from '../judging/answer.ts';
import { OPTIONS_FORMAT, refusesWords, wordsOf } from './asking.ts';
import { ChatServer, ServerFault, type ServerOptions } from './chat-server.ts';
import { letters, logSumExp, NO, YES } from './likelihood.ts';
import { pngOf } from './png.ts';
import type { Request, Subject, SubjectRun } from './subject.ts';

export interface ServerSubjectOptions extends ServerOptions {
  /** Name of the model, as the server knows it. */
  model: string;
  /** Whether log-probabilities of yes, no and letters are asked for. @default 'scores' */
  answers?: 'scores' | 'text';
  /** Most tokens of an answer. @default 128 */
  maxTokens?: number;
  /** Alternatives to the first token that are asked for; OpenAI allows 20. @default 20 */
  topLogprobs?: number;
  /** What it is told in front, as the system's message. @default nothing */
  system?: string;
  /** Questions that are asked at once. @default 4 */
  concurrency?: number;
}

const listed = z.object({
  data: z.array(z.object({ id: z.string(), root: z.string().nullish(), owned_by: z.string().nullish() })),
});

const alternative = z.object({ token: z.string(), logprob: z.number() });
const completion = z.object({
  model: z.string().nullish(),
  choices: z
    .array(
      z.object({
        message: z.object({ content: z.string().nullish() }),
        finish_reason: z.string().nullish(),
        logprobs: z
          .object({
            content: z.array(alternative.extend({ top_logprobs: z.array(alternative).default([]) })).nullish(),
          })
          .nullish(),
      }),
    )
    .min(1),
  usage: z.object({ completion_tokens: z.int().min(0).nullish() }).nullish(),
});
type Completion = z.infer<typeof completion>;

/** Asks the server what it runs. Throws a FoveaError where it does not answer, refuses the key or has no such model. */
export async function serverSubject(options: ServerSubjectOptions): Promise<Subject> {
  const { model, answers = 'scores', maxTokens = 128, topLogprobs = 20, system = null } = options;
  const server = new ChatServer(options);
  const models = await server.ask('models', undefined, listed, jitterOf('models')).catch((error: Error) => {
    if (!isUserError(error) || (error instanceof ServerFault && error.status !== 404)) throw error;
    return null;
  });
  const reported = models?.data.find(({ id }) => id === model) ?? null;
  if (models && !reported)
    throw new FoveaError(
      `The server has no model "${model}"; it has ${
        models.data
          .slice(0, 10)
          .map(({ id }) => `"${id}"`)
          .join(', ') || 'none'
      }.`,
    );
  const decoding = { answers, strategy: 'greedy', temperature: 0, seed: 0, maxTokens, topLogprobs, system };
  const identity = {
    weights: 'not hashed: they are behind a server',
    model,
    reported: reported && { id: reported.id, root: reported.root ?? null, ownedBy: reported.owned_by ?? null },
    decoding: { ...decoding, options: OPTIONS_FORMAT, pictures: 'png' },
  };
  return new ServerSubject(server, { ...options, answers, maxTokens, topLogprobs, system }, identity);
}

type Settings = Required<Pick<ServerSubjectOptions, 'answers' | 'maxTokens' | 'topLogprobs'>> &
  Pick<ServerSubjectOptions, 'model' | 'concurrency'> & { system: string | null };

class ServerSubject implements Subject {
  readonly kind = 'language-model';
  readonly identity: Record<string, unknown>;
  readonly #server: ChatServer;
  readonly #settings: Settings;
  #template: string | null = null;
  /** What the first answer said that it came from. */
  #model: string | null = null;

  constructor(server: ChatServer, settings: Settings, identity: Record<string, unknown>) {
    this.#server = server;
    this.#settings = settings;
    this.identity = identity;
  }

  refuses = refusesWords;

  async prepare(suite: Parameters<Subject['prepare']>[0]): Promise<void> {
    const why = this.refuses(suite);
    if (why !== null) throw new FoveaError(why);
    this.#template = suite.manifest.prompt.template;
  }

  async answer(requests: readonly Request[], { signal }: SubjectRun): Promise<Answer[]> {
    const answers = new Array<Answer>(requests.length);
    const left = requests.entries();
    const lane = async () => {
      for (const [at, request] of left) {
        signal?.throwIfAborted();
        answers[at] = await this.#answer(request, signal);
      }
    };
    await Promise.all(Array.from({ length: this.#settings.concurrency ?? 4 }, lane));
    return answers;
  }

  async dispose(): Promise<void> {}

  async #answer(request: Request, signal?: AbortSignal): Promise<Answer> {
    const body = this.#body(request);
    try {
      const given = await this.#server.ask('chat/completions', body, completion, jitterOf(request.item.id), signal);
      this.#checkModel(given);
      const [choice] = given.choices;
      const first = choice.logprobs?.content?.[0]?.top_logprobs ?? [];
      const scores = this.#isScored(request) ? scoresFrom(first, request) : null;
      if (scores) return { kind: 'scores', scores };
      const tokens = given.usage?.completion_tokens ?? null;
      const finish = choice.finish_reason === 'length' ? 'length' : 'stop';
      return { kind: 'text', text: (choice.message.content ?? '').trim(), tokens, finish };
    } catch (error) {
      if (!isUserError(error) || error instanceof ServerFault) throw error;
      return { kind: 'error', message: error.message, attempts: 1 };
    }
  }

  #isScored({ item }: Request): boolean {
    return this.#settings.answers === 'scores' && item.ask.kind !== 'caption';
  }

  #body(request: Request): object {
    if (this.#template === null) throw new Error('A language model is asked before a suite was prepared.');
    const { model, maxTokens, topLogprobs, system } = this.#settings;
    const content = [
      ...request.pictures.map(({ pixels }) => ({
        type: 'image_url',
        image_url: { url: `data:image/png;base64,${pngOf(pixels).toString('base64')}` },
      })),
      { type: 'text', text: wordsOf(request.item.ask, this.#template) },
    ];
    return {
      model,
      messages: [...(system === null ? [] : [{ role: 'system', content: system }]), { role: 'user', content }],
      ...{ max_tokens: maxTokens, temperature: 0, seed: 0, stream: false },
      ...(this.#isScored(request) ? { logprobs: true, top_logprobs: topLogprobs } : {}),
    };
  }

  #checkModel({ model }: Completion): void {
    if (!model) return;
    this.#model ??= model;
    if (this.#model === model) return;
    throw new ServerFault(
      `The server answered as "${this.#model}" and now as "${model}"; answers of two models cannot be one result, so start anew when it has settled.`,
    );
  }
}

/**
 * Log-likelihoods from the alternatives to the first token. An answer that is not among them is less likely than all of
 * them, and gets the least. Null where none is.
 */
function scoresFrom(top: readonly z.infer<typeof alternative>[], { item }: Request): number[] | null {
  const answers = item.ask.kind === 'choice' ? letters(item.ask.options.length) : [YES, NO];
  const found = answers.map((ways) => top.filter(({ token }) => ways.includes(token)).map(({ logprob }) => logprob));
  if (found.every((own) => own.length === 0)) return null;
  const least = Math.min(...top.map(({ logprob }) => logprob));
  return found.map((own) => Number((own.length === 0 ? least : logSumExp(own)).toPrecision(7)));
}

/** Numbers in [0, 1) that belong to one question, so that many do not come back at once. */
function jitterOf(id: string): () => number {
  const rng = philox(0, `retry/${id}`);
  return () => rng.uniform();
}
