// Whether a peer computes what we compute: a bench of different computations says nothing. What is compared is one step's
// results from the same start, see `check` in child.ts and ../../bench/protocol.py.

/** Results of one step by name: outputs, and the carried tensors under `state/`. */
export type Digest = Map<string, Float32Array>;

/** Largest error of a tensor, as a share of its root mean square. */
const RELATIVE = 1e-3;
/** That of an updated parameter, small enough that a wrong update or weight decay shows. */
const RELATIVE_UPDATED = 4e-6;
/** Numbers this much smaller than their kind's largest are noise, such as the gradient of an attention's key bias. */
const FLOOR = 1e-4;

/**
 * Why two results are not those of one computation, or null. Outputs of ours that the peer does not report are left
 * out, but for gradients, state and loss. Sizes and errors are root mean squares; of updated parameters only those with
 * a gradient above the noise are looked at, because AdamW makes a full step of any noise.
 */
export function compareDigests(ours: Digest, theirs: Digest): string | null {
  const scale = new Map<string, number>();
  for (const [name, data] of ours) scale.set(kind(name), Math.max(scale.get(kind(name)) ?? 0, rms(data)));
  for (const [name, data] of theirs) {
    const mine = ours.get(name);
    if (!mine) return `we do not report "${name}"`;
    if (mine.length !== data.length) return `"${name}" has ${data.length} elements there and ${mine.length} here`;
    const moment = ours.get(name.replace(/^state\/p\//, 'state/m/')) as Float32Array;
    const updated = name.startsWith('state/p/');
    const noise = FLOOR * (scale.get(kind(name)) ?? 0);
    const quiet = FLOOR * (scale.get('state/m') ?? 0);
    const error = rms(mine.map((value, i) => (updated && Math.abs(moment[i]) < quiet ? 0 : value - data[i])));
    const allowed = updated ? RELATIVE_UPDATED * rms(mine) : RELATIVE * (rms(mine) + noise);
    if (!(error <= allowed))
      return `"${name}" differs by ${error.toExponential(2)} (root mean square), and ${allowed.toExponential(2)} is allowed`;
  }
  const missing = [...ours.keys()].find((name) => /^(grad|state)\/|^loss$|^features$/.test(name) && !theirs.has(name));
  return missing ? `"${missing}" is not reported there` : null;
}

const kind = (name: string) => name.match(/^(grad|state\/[pmv])\//)?.[1] ?? name;

function rms(data: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += data[i] ** 2;
  return Math.sqrt(sum / Math.max(1, data.length));
}
