export * from './load.ts';
export * from './plan.ts';
export * from './schema.ts';
export * from './sources.ts';
export * from './sweep.ts';
