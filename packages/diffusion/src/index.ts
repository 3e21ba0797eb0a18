export * from './process.ts';
export * from './sampler.ts';
export * from './timesteps.ts';
