// What an evaluation was asked for, as run.json keeps it so that it can be resumed: suites by name or folder, and where the
// subject is. Paths are absolute; none of it is part of a key.

import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import { z } from 'zod';

export const ROLES_OF_SUBJECT = ['auto', 'encoder', 'probe', 'blind'] as const;

const requestSchema = z.strictObject({
  /** Names of built-in twins, or folders. */
  suites: z.array(z.string()).min(1),
  images: z.string().nullable(),
  subject: z.discriminatedUnion('from', [
    z.strictObject({ from: z.literal('checkpoint'), id: z.string(), run: z.string() }),
    z.strictObject({ from: z.literal('builtin'), weights: z.string() }),
    z.strictObject({ from: z.literal('encoder'), folder: z.string() }),
    z.strictObject({ from: z.literal('lm'), place: z.string(), model: z.string().nullable(), words: z.boolean() }),
    z.strictObject({ from: z.literal('detector'), file: z.string() }),
    z.strictObject({ from: z.literal('answers'), files: z.array(z.string()).min(1) }),
  ]),
  as: z.enum(ROLES_OF_SUBJECT),
  limit: z.int().min(1).nullable(),
  seed: z.int().min(0),
  device: z.string(),
});
export type EvalRequest = z.infer<typeof requestSchema>;
export type SubjectRequest = EvalRequest['subject'];

/** The request of a run.json. */
export function parseRequest(json: unknown, folder: string): EvalRequest {
  const parsed = requestSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new FoveaError(
    `The evaluation "${folder}" does not say how it was asked, so it cannot be resumed; run it again with a new --name.`,
  );
}

/** A path of the command line from where the user stands. */
export const fromUser = (given: string, env: NodeJS.ProcessEnv = process.env): string =>
  path.resolve(env.INIT_CWD ?? process.cwd(), given);
