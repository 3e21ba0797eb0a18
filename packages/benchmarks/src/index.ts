// What other packages use of the benchmarks: scoring a checkpoint, comparing scorecards, and writing a run's summary and
// report. Internals (plans of questions, probes, drawings) are imported from their files by tests only.

export * from './branch-gates.ts';
export * from './compare.ts';
export * from './image-text-encoder.ts';
export * from './plan.ts';
export * from './report.ts';
export * from './run-data.ts';
export * from './score-checkpoint.ts';
export * from './scorecard.ts';
export * from './statistics.ts';
export * from './summary.ts';
