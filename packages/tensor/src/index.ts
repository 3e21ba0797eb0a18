export { checkpoint } from './checkpoint.ts';
export {
  type CompileOptions,
  compile,
  type Frozen,
  lowerToOnnx,
  Program,
  type ProgramReport,
  runOnnx,
  type Signature,
  type StepFunction,
  type StepResult,
} from './compile.ts';
export { DEVICES, type Device, type Placement, PRECISIONS, type Precision, whyNot } from './devices.ts';
export { firstNonFinite, type NonFinite } from './diagnose.ts';
export { compiledEngine, type Engine, jsEngine, nativeEngines } from './engines.ts';
export { TensorError } from './errors.ts';
export * from './functional/index.ts';
export { type GradResult, valueAndGrads } from './grads.ts';
export { type NumericArray, type Spec, sizeOf } from './graph.ts';
export { GraphModel } from './graph-model.ts';
export type { Mapped, MappedWeights } from './mapped.ts';
export type { MemoryReport } from './memory.ts';
export { microBatches, type SliceResult, sliceCount } from './microbatch.ts';
export { type Floats, type OnnxInterface, OnnxModel, type OnnxOptions, type ShapePattern } from './onnx-model.ts';
export * from './random.ts';
export { isRecording, mapValues, prefixed } from './recorder.ts';
export { default as tf, type NamedTensors, type Tensor } from './tf.ts';
