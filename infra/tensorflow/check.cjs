// Proves a freshly built binding, in a process of its own: ten steps of gradient descent through a convolution must
// lower a loss. Called by provision.mjs with the folder of the npm package; prints one line of JSON.

const util = require('node:util');

// tfjs-node 4.22 calls these; Node 23 and later lack the first and warn of the second.
Object.assign(util, { isNullOrUndefined: (x) => x === null || x === undefined, isArray: Array.isArray });
process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';

const tf = require(process.argv[2]);

const x = tf.linspace(-1, 1, 2 * 8 * 8 * 3).reshape([2, 8, 8, 3]);
const filter = tf.variable(tf.linspace(-0.5, 0.5, 3 * 3 * 3 * 4).reshape([3, 3, 3, 4]));
const loss = () => tf.conv2d(x, filter, 1, 'same').sigmoid().square().mean();
const [before] = loss().dataSync();
const optimizer = tf.train.adam(0.05);
for (let i = 0; i < 10; i++) optimizer.minimize(loss);
const [after] = loss().dataSync();
if (!(after < before)) throw new Error(`training does not lower the loss: ${before} before, ${after} after`);

const backend = tf.backend();
console.log(JSON.stringify({ version: backend.binding.TF_Version, gpu: backend.isUsingGpuDevice }));
