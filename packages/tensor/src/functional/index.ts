// What models call beside tfjs's own functions, under the names of torch.nn.functional.

export { quickGelu } from './activation.ts';
export { type AttentionOptions, attention } from './attention.ts';
export { crossEntropy } from './loss.ts';
export { layerNorm } from './norm.ts';
