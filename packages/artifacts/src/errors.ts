// The one error that a person is meant to read. Everything that bad input can cause is thrown as this; the CLI prints
// its sentence and exits with 2. Any other error is a fault of ours and exits with 1 and a stack.

/** An error whose message is one sentence for the user: what, where, why and the mend. */
export class FoveaError extends Error {
  /** Process exit code that the CLI uses for it. */
  readonly exitCode = 2;
  override readonly name = 'FoveaError';
  /** It may well be over in a moment, as when a server restarts: who can wait should try again. */
  readonly passes: boolean;

  constructor(message: string, { passes = false }: { passes?: boolean } = {}) {
    super(message);
    this.passes = passes;
  }
}

/** True for a user's error that may be over in a moment. */
export const isPassing = (error: unknown): error is FoveaError => isUserError(error) && error.passes === true;

/** True for errors meant for the user; also holds for ones that crossed a process boundary as plain objects. */
export function isUserError(error: unknown): error is FoveaError {
  return typeof error === 'object' && error !== null && (error as { name?: string }).name === 'FoveaError';
}
