// What other packages use of the benchmarks: scoring a checkpoint, comparing scorecards, and writing a run's summary and
// report. Internals (plans of questions, probes, drawings) are imported from their files by tests only.

export * from './branch-gates.ts';
export * from './compare.ts';
export * from './image-text-encoder.ts';
export * from './judging/compare.ts';
export * from './judging/gate.ts';
export * from './judging/judged-run.ts';
export { MACRO } from './judging/paired.ts';
export { evalMarkdown } from './judging/report/markdown.ts';
export { type EvalReport, renderEvalReport, resultLines } from './judging/report/report.ts';
export * from './plan.ts';
export * from './report.ts';
export * from './run-data.ts';
export * from './score-checkpoint.ts';
export * from './scorecard.ts';
export * from './statistics.ts';
export * from './subjects/answers.ts';
export * from './subjects/blind.ts';
export { type LanguageModelSubjectOptions, languageModelSubject } from './subjects/language-model.ts';
export { type ServerSubjectOptions, serverSubject } from './subjects/openai.ts';
export * from './summary.ts';
