// The one copy of tfjs. The union package, not tfjs-core: in Node the latter registers no gradients. It is CommonJS,
// hence the default import.

import * as union from '@tensorflow/tfjs';

const tf = (union as unknown as { default?: typeof union }).default ?? union;
export default tf;
export type Tensor = union.Tensor;
export type TensorInfo = union.TensorInfo;
export type NamedTensors = Record<string, Tensor>;

// Silences tfjs's advertisement of its node backend; we say in `fovea doctor` what is installed.
tf.enableProdMode();
