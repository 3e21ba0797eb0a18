// A process that tries every device and prints what came of it as JSON; `fovea doctor` runs it.

import { DEVICES, whyNot } from '@fovea/tensor';

const tried = [];
for (const device of DEVICES) {
  const reason = await whyNot(device);
  tried.push({ device, usable: reason === null, reason });
}
console.log(JSON.stringify(tried));
