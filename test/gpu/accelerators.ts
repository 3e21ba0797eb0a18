// The accelerators of this machine that the tests in this folder run on. One that is missing is named, with the reason.

import { DEVICES, type Device, whyNot } from '@fovea/tensor';
import { describe, it } from 'vitest';

const tried = await Promise.all(
  DEVICES.filter((d) => d !== 'cpu').map(async (device) => ({ device, reason: await whyNot(device) })),
);

/** Declares the same tests once for each accelerator; skipped aloud where it is missing. */
export function onAccelerators(name: string, tests: (device: Device) => void): void {
  for (const { device, reason } of tried) {
    if (reason === null) {
      describe(`${name} on ${device}`, () => tests(device));
      continue;
    }
    console.log(`skipped on ${device}: ${reason}`);
    describe.skip(`${name} on ${device}`, () => it('needs the device', () => {}));
  }
}
