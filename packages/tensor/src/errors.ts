// Faults of a model or a machine, worded for the person who wrote the model. This package stands below the one that
// owns the user error of the command line, so it shares only that error's name and exit code.

/** An error whose message is one sentence for the user. */
export class TensorError extends Error {
  readonly exitCode = 2;
  override readonly name = 'FoveaError';
}
