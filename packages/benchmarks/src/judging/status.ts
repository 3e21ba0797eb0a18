// `status.json`: how far an evaluation is, for whoever looks from outside. It is written whole and renamed into place; it
// holds clocks, and nothing that is compared.

import path from 'node:path';
import { replaceFile } from '@fovea/artifacts';
import { z } from 'zod';
import { parseAs, parseJson, readBounded } from '../suite/safe-files.ts';

export const STATES = ['queued', 'running', 'scoring', 'completed', 'failed', 'cancelled', 'incomplete'] as const;
const state = z.enum(STATES);
export type State = z.infer<typeof state>;

const suiteStatus = z.strictObject({
  state,
  /** Questions that are answered, of `count`. */
  answered: z.int().min(0),
  count: z.int().min(0),
  unknown: z.int().min(0),
  errors: z.int().min(0),
  /** Why it is not completed, in one sentence. */
  message: z.string().nullable(),
});
export type SuiteStatus = z.infer<typeof suiteStatus>;

export const statusSchema = z.strictObject({
  schemaVersion: z.literal(1),
  state,
  startedAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
  suites: z.record(z.string(), suiteStatus),
});
export type Status = z.infer<typeof statusSchema>;

/** The state of a whole evaluation from those of its suites: the worst that ended, or what still goes on. */
export function stateOf(suites: readonly { state: State }[]): State {
  const order: State[] = ['running', 'scoring', 'cancelled', 'failed', 'incomplete', 'queued', 'completed'];
  return order.find((each) => suites.some((suite) => suite.state === each)) ?? 'completed';
}

export async function writeStatus(folder: string, status: Status): Promise<void> {
  await replaceFile(path.join(folder, 'status.json'), `${JSON.stringify(statusSchema.parse(status), null, 2)}\n`);
}

export async function readStatus(folder: string): Promise<Status> {
  const file = path.join(folder, 'status.json');
  const what = `The status "${file}"`;
  return parseAs(statusSchema, parseJson((await readBounded(file, 2 ** 24, what)).toString(), what), what);
}
