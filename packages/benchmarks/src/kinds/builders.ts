// What `fovea eval build` can make, by name: each reads the user's files and gives a draft. Adding one is a line here.

import { FoveaError } from '@fovea/artifacts';
import { z } from 'zod';
import type { SubjectRun } from '../subjects/subject.ts';
import type { Draft } from '../suite/draft.ts';
import { readSuite } from '../suite/read-suite.ts';
import { draftOf } from '../suite/suite-of.ts';
import { buildChair, chairBuildSchema } from './build-chair.ts';
import { buildClassify, classifyBuildSchema } from './build-classify.ts';
import { buildCorruptions, corruptionsBuildSchema } from './build-corruptions.ts';
import { buildCueConflict, cueConflictBuildSchema } from './build-cue-conflict.ts';
import { buildMmvp, mmvpFilesSchema } from './build-mmvp.ts';
import { buildMmvpVlm, mmvpVlmFilesSchema } from './build-mmvp-vlm.ts';
import { buildPairs, pairsBuildSchema } from './build-pairs.ts';
import { buildPope, popeBuildSchema } from './build-pope.ts';
import { buildRetrieval, retrievalBuildSchema } from './build-retrieval.ts';
import { buildRobustVqa, robustVqaBuildSchema } from './build-robustvqa.ts';
import type { FilterModel } from './picture-features.ts';
import { popeFilesSchema, readPope } from './read-pope.ts';
import { readRobustVqa, robustVqaFilesSchema } from './read-robustvqa.ts';

/** Encoders that a builder may ask, never the one that is to be judged by what it makes. */
export interface BuildHelpers extends SubjectRun {
  /** Chooses wrong names; of pairs, the encoder that is fooled. */
  filter: FilterModel | null;
  /** Of pairs, the encoder that tells them apart. */
  other: FilterModel | null;
}

export interface Builder {
  /** One line for people. */
  about: string;
  options: z.ZodType;
  /** `options`: as the schema takes them. */
  build(options: never, helpers: BuildHelpers): Promise<Draft>;
}

const builder = <S extends z.ZodType>(
  about: string,
  options: S,
  build: (options: z.input<S>, helpers: BuildHelpers) => Promise<Draft>,
): Builder => ({ about, options, build });

const corruptedSchema = corruptionsBuildSchema.extend({
  /** Folder of the suite, of the kind classify. */
  suite: z.string().min(1),
});

export const BUILDERS: Readonly<Record<string, Builder>> = {
  pope: builder('POPE from annotated pictures', popeBuildSchema, buildPope),
  'pope-files': builder("POPE's or RePOPE's published question files", popeFilesSchema, readPope),
  chair: builder('CHAIR from annotated pictures', chairBuildSchema, buildChair),
  mmvp: builder("MMVP's published folder", mmvpFilesSchema, buildMmvp),
  'mmvp-vlm': builder("MMVP-VLM's published folder", mmvpVlmFilesSchema, buildMmvpVlm),
  pairs: builder('CLIP-blind pairs of pictures with classes', pairsBuildSchema, minedPairs),
  robustvqa: builder('RobustVQA from pictures with classes', robustVqaBuildSchema, (options, { filter, ...run }) =>
    buildRobustVqa(options, filter, run),
  ),
  'robustvqa-file': builder("RobustVQA's published JSON", robustVqaFilesSchema, readRobustVqa),
  classify: builder('Zero-shot classification of pictures with classes', classifyBuildSchema, buildClassify),
  corruptions: builder('A suite of classes under ImageNet-C’s corruptions', corruptedSchema, corrupted),
  retrieval: builder('Retrieval among pictures with captions', retrievalBuildSchema, buildRetrieval),
  'cue-conflict': builder(
    'Shape against texture, as texture-vs-shape names its pictures',
    cueConflictBuildSchema,
    buildCueConflict,
  ),
};

async function corrupted({ suite, ...options }: z.input<typeof corruptedSchema>): Promise<Draft> {
  return buildCorruptions(draftOf(await readSuite(suite)), options);
}

async function minedPairs(
  options: z.input<typeof pairsBuildSchema>,
  { filter, other, ...run }: BuildHelpers,
): Promise<Draft> {
  if (filter === null || other === null)
    throw new FoveaError('Pairs take two encoders: --filter, which is fooled, and --other, which tells them apart.');
  return buildPairs(options, { confused: filter, apart: other }, run);
}
