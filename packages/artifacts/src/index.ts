// What other packages may use of the store: blobs and refs, checkpoints, safetensors, and the error for the user.

export * from './canonical.ts';
export * from './checkpoint.ts';
export * from './config.ts';
export * from './disk.ts';
export * from './durable.ts';
export * from './errors.ts';
export * from './file-hash.ts';
export { collectGarbage, DAY_MS, type Garbage, type GarbageOptions } from './garbage.ts';
export * from './half.ts';
export { inParallel } from './layout.ts';
export * from './lock.ts';
export * from './params.ts';
export * from './partial.ts';
export * from './preprocessing.ts';
export * from './pretrained-folder.ts';
export type { Keep } from './reach.ts';
export * from './safetensors.ts';
export { quote } from './safetensors-format.ts';
export * from './store.ts';
export { type Verified, type VerifyOptions, verifyStore } from './verify.ts';
