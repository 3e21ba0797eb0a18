// A subject: whoever answers questions. An encoder compares features, an encoder with a probe reads facts off them, a
// language model talks, a detector lists boxes; benchmarks know no difference.

import type { Rgb8 } from '@fovea/data';
import type { Answer } from '../judging/answer.ts';
import type { Item } from '../suite/item.ts';
import type { Suite } from '../suite/suite.ts';

/** A picture that is asked about. Equal keys are equal pixels, so features may be kept by key. */
export interface Shown {
  key: string;
  pixels: Rgb8;
}

export interface Request {
  item: Item;
  pictures: Shown[];
}

export interface SubjectRun {
  signal?: AbortSignal;
  progress?: (event: { step: number; steps: number; text?: string }) => void;
}

export interface Subject {
  kind: 'encoder' | 'probe' | 'language-model' | 'detector' | 'blind';
  /**
   * Everything that its answers depend on, as JSON without paths or clocks: hashes of weights and adapters, architecture,
   * tokenizer, preprocessing, dtype, decoding, engine. Part of the run's key.
   */
  identity: Record<string, unknown>;
  /** Why it cannot answer a suite (a text it cannot read, no claims, no probe rows); null when it can. */
  refuses(suite: Suite): string | null;
  /** What a suite needs once before its first question: texts encoded, probes fitted, a gallery of features. */
  prepare(suite: Suite, run: SubjectRun): Promise<void>;
  /**
   * Answers in the order asked. An answer depends on its own request alone: never on what else is in the array, so that
   * batch size, order and restarts change no bit.
   */
  answer(requests: readonly Request[], run: SubjectRun): Promise<Answer[]>;
  dispose(): Promise<void>;
}
