export * from './canonical.ts';
export * from './checkpoint.ts';
export * from './errors.ts';
export * from './safetensors.ts';
export * from './store.ts';
