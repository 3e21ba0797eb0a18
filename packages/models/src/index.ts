export * from './clip.ts';
export * from './config.ts';
export * from './denoiser.ts';
export * from './encoder.ts';
export * from './flux.ts';
export * from './lora.ts';
export * from './params.ts';
export * from './tokenizer.ts';
