// Loaded before anything else of a process (`--import`): its Date goes wrong by as many milliseconds as the file that
// FOVEA_CHAOS_CLOCK names says, from when the file is there, as on a machine whose clock is set. Timers go on as they were.

import { readFileSync } from 'node:fs';

const file = process.env.FOVEA_CHAOS_CLOCK;
const True = Date;
let shift = 0;
setInterval(() => {
  try {
    shift = Number(readFileSync(file, 'utf8')) || 0;
  } catch {
    shift = 0;
  }
}, 50).unref();

globalThis.Date = class extends True {
  constructor(...given) {
    if (given.length > 0) super(...given);
    else super(True.now() + shift);
  }
  static now() {
    return True.now() + shift;
  }
};
