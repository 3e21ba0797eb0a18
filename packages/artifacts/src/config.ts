// Reading of files that others wrote, such as a network's config.json: the fields that we name, checked, and nothing else.

import type { z } from 'zod';
import { FoveaError } from './errors.ts';

/**
 * The fields of `json` that `schema` names. Throws a {@link FoveaError} that names the first field that is missing or cannot
 * be used; `where` names the file.
 */
export function readConfig<T>(schema: z.ZodType<T>, json: unknown, where: string): T {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const [{ path, message }] = result.error.issues;
  throw new FoveaError(`The configuration ${where} cannot be used: ${path.join('.') || 'it'} — ${message}.`);
}
