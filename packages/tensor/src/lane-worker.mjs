// A thread that holds a session of its own and runs it on what the program's thread lends it; see lane.ts. Plain
// JavaScript, because a thread starts without the loader that strips types.

import { parentPort } from 'node:worker_threads';
import { InferenceSession, Tensor } from 'onnxruntime-node';

const tensors = (list) =>
  Object.fromEntries(list.map(({ name, type, dims, data }) => [name, new Tensor(type, data, dims)]));

let session;

const TASKS = {
  open: async ({ model, options }) => {
    session = await InferenceSession.create(model, options);
  },
  run: ({ feeds, fetches }) => session.run(tensors(feeds), tensors(fetches)),
};

parentPort.on('message', async ({ task, lent, buffers }) => {
  let error;
  try {
    await TASKS[task](lent);
  } catch (caught) {
    error = caught.message;
  }
  parentPort.postMessage({ error, lent }, buffers);
});
