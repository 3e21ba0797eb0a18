// The one error that a person is meant to read. Everything that bad input can cause is thrown as this; the CLI prints
// its sentence and exits with 2. Any other error is a fault of ours and exits with 1 and a stack.

/** An error whose message is one sentence for the user: what, where, why and the mend. */
export class FoveaError extends Error {
  /** Process exit code that the CLI uses for it. */
  readonly exitCode = 2;
  override readonly name = 'FoveaError';
}

/** True for errors meant for the user; also holds for ones that crossed a process boundary as plain objects. */
export function isUserError(error: unknown): error is FoveaError {
  return typeof error === 'object' && error !== null && (error as { name?: string }).name === 'FoveaError';
}

/** The store cannot be reached now: nobody's input is wrong, and what failed may be tried again when it is back. */
export class StoreAway extends FoveaError {
  readonly isAway = true;
}

/** True for a {@link StoreAway}, also for one that crossed a process boundary. */
export function isAway(error: unknown): boolean {
  return isUserError(error) && (error as { isAway?: boolean }).isAway === true;
}
