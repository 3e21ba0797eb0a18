// What models call beside tfjs's own functions, under the names of torch.nn.functional.

export { gelu, quickGelu, silu } from './activation.ts';
export { batchNorm, batchNormTraining, groupNorm } from './channel-norm.ts';
export { type Conv2dOptions, type ConvTranspose2dOptions, conv2d, convTranspose2d } from './conv.ts';
export { crossEntropy } from './loss.ts';
export { layerNorm } from './norm.ts';
export { type InterpolateOptions, interpolate } from './resize.ts';
