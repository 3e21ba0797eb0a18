// What models call beside tfjs's own functions, under the names of torch.nn.functional.

export { gelu, quickGelu, silu } from './activation.ts';
export { type AttentionOptions, attention } from './attention.ts';
export { batchNorm, batchNormTraining, groupNorm } from './channel-norm.ts';
export { type Conv2dOptions, type ConvTranspose2dOptions, conv2d, convTranspose2d } from './conv.ts';
export { einsum } from './einsum.ts';
export { embedding, topK } from './gather.ts';
export { crossEntropy } from './loss.ts';
export { layerNorm, rmsNorm } from './norm.ts';
export { type AvgPoolOptions, adaptiveAvgPool2d, avgPool2d, maxPool2d, type PoolOptions } from './pool.ts';
export { type InterpolateOptions, interpolate } from './resize.ts';
