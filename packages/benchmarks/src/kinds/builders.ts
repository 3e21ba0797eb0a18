// What `fovea eval build` can make, by name: each reads the user's files and gives a draft. Adding one is a line here.

import type { z } from 'zod';
import type { Draft } from '../suite/draft.ts';
import { buildChair, chairBuildSchema } from './build-chair.ts';
import { buildClassify, classifyBuildSchema } from './build-classify.ts';
import { buildCueConflict, cueConflictBuildSchema } from './build-cue-conflict.ts';
import { buildMmvp, mmvpOptions } from './build-mmvp.ts';
import { buildMmvpVlm, mmvpVlmOptions } from './build-mmvp-vlm.ts';
import { buildPope, popeBuildSchema } from './build-pope.ts';
import { buildRetrieval, retrievalBuildSchema } from './build-retrieval.ts';
import { popeFilesSchema, readPope } from './read-pope.ts';
import { readRobustVqa, robustVqaFileOptions } from './read-robustvqa.ts';

export interface Builder {
  /** One line for people. */
  about: string;
  options: z.ZodType;
  /** `options`: as the schema takes them. */
  build(options: never): Promise<Draft>;
}

const builder = <S extends z.ZodType>(
  about: string,
  options: S,
  build: (options: z.input<S>) => Promise<Draft>,
): Builder => ({ about, options, build });

export const BUILDERS: Readonly<Record<string, Builder>> = {
  pope: builder('POPE from annotated pictures', popeBuildSchema, buildPope),
  'pope-files': builder("POPE's or RePOPE's published question files", popeFilesSchema, readPope),
  chair: builder('CHAIR from annotated pictures', chairBuildSchema, buildChair),
  mmvp: builder("MMVP's published folder", mmvpOptions, buildMmvp),
  'mmvp-vlm': builder("MMVP-VLM's published folder", mmvpVlmOptions, buildMmvpVlm),
  'robustvqa-file': builder("RobustVQA's published JSON", robustVqaFileOptions, readRobustVqa),
  classify: builder('Zero-shot classification of pictures with classes', classifyBuildSchema, buildClassify),
  retrieval: builder('Retrieval among pictures with captions', retrievalBuildSchema, buildRetrieval),
  'cue-conflict': builder(
    'Shape against texture, as texture-vs-shape names its pictures',
    cueConflictBuildSchema,
    buildCueConflict,
  ),
};
