// How a disk says no, as sentences. Wherever bytes are written, these errors are the user's to mend.

import { FoveaError } from './errors.ts';

const REFUSALS: Record<string, string> = {
  ENOSPC: 'no space is left on that disk; free some, or set FOVEA_HOME to a folder on another disk',
  EDQUOT: 'your disk quota is used up; free some space, or set FOVEA_HOME to a folder elsewhere',
  EROFS: 'that file system is read-only; set FOVEA_HOME to a folder that can be written',
  EACCES: 'permission is denied; give yourself the right to write there, or set FOVEA_HOME to a folder of your own',
  EPERM:
    'the operation is not permitted; give yourself the right to write there, or set FOVEA_HOME to a folder of your own',
  ENOTDIR: 'a part of that path is a file, not a folder; set FOVEA_HOME to another folder',
  EISDIR: 'a folder is in its place; move it away',
  EIO: 'the disk reported an input/output error; check the disk',
};

/**
 * The FoveaError for a disk's refusal, or the same error if it is none. `subject` is the sentence's start, such as
 * "The folder runs/x cannot be written".
 */
export function explainDisk(error: unknown, subject: string): unknown {
  const reason = REFUSALS[(error as NodeJS.ErrnoException | null)?.code ?? ''];
  return reason === undefined ? error : new FoveaError(`${subject}: ${reason}; what was committed before is safe.`);
}
