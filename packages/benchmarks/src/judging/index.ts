// What other packages use to ask suites of subjects and to judge the answers: suites as folders and in memory, subjects,
// evaluations that can be resumed and judged again, comparisons, gates. Scorecards inside training runs are the package's
// own entry.

export { corrupt } from '../corruptions/index.ts';
export { foilRefusal } from '../kinds/build-robustvqa.ts';
export { BUILDERS, type Builder, type BuildHelpers } from '../kinds/builders.ts';
export type { FilterModel } from '../kinds/picture-features.ts';
export { openBenchmarks } from '../open-benchmarks.ts';
export { choose, scoreBenchmarks } from '../score-benchmarks.ts';
export { answersSubject } from '../subjects/answers.ts';
export { blindSubject } from '../subjects/blind.ts';
export { detectorSubject } from '../subjects/detector.ts';
export { encoderSubject } from '../subjects/encoder.ts';
export type { JudgedEncoder } from '../subjects/features.ts';
export { languageModelSubject } from '../subjects/language-model.ts';
export { asItIs, BATCH, COMPUTED, judgedOf, openCheckpoint } from '../subjects/open-checkpoint.ts';
export { serverSubject } from '../subjects/openai.ts';
export { probeSubject } from '../subjects/probe.ts';
export type { Subject } from '../subjects/subject.ts';
export type { Draft } from '../suite/draft.ts';
export type { Item, PictureRef } from '../suite/item.ts';
export { KINDS, type Kind, type Manifest } from '../suite/manifest.ts';
export { type ReadSuiteOptions, readSuite } from '../suite/read-suite.ts';
export type { Suite } from '../suite/suite.ts';
export { manifestHash, suiteOf } from '../suite/suite-of.ts';
export { writeSuite } from '../suite/write-suite.ts';
export { emojiTwins, type TwinOptions, twinReader } from '../twins/index.ts';
export { ALL_TWINS, Twins, twinsNamed } from '../twins/open-twins.ts';
export * from './compare.ts';
export * from './evaluate.ts';
export * from './gate.ts';
export * from './judged-run.ts';
export * from './limit.ts';
export * from './read-judged-run.ts';
export * from './registry.ts';
export { evalMarkdown } from './report/markdown.ts';
export { type EvalReport, renderEvalReport, resultLines } from './report/report.ts';
export type { Result } from './result.ts';
export * from './results.ts';
export * from './run-folder.ts';
export * from './run-key.ts';
export * from './status.ts';
