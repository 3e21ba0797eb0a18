export * from './noise-contrast.ts';
export * from './process.ts';
export * from './sampler.ts';
export * from './schedule.ts';
export * from './timesteps.ts';
