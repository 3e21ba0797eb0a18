// ImageNet-C's measures (Hendrycks & Dietterich, ICLR 2019): errors under corruption, relative to those of a reference
// model. Pure numbers; errors are shares in [0, 1], one per severity.

/** Errors of each corruption, severity 1 to 5. */
export type CorruptionErrors = Readonly<Record<string, readonly number[]>>;

/** A model that errors are divided by. */
export interface Reference {
  name: string;
  /** Error without corruption; null where nobody has verified it. */
  clean: number | null;
  /** Error of each corruption, meaned over severity 1 to 5. */
  errors: Readonly<Record<string, number>>;
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** CE_c = Σ_s E_{s,c} ⁄ Σ_s E^ref_{s,c}, of equally many severities; null where nothing was measured. */
export function corruptionError(errors: readonly number[] | undefined, reference: number): number | null {
  return errors === undefined || errors.length === 0 ? null : mean(errors) / reference;
}

/** mCE: the mean of CE over the reference's corruptions; null where one of them was not measured. */
export function meanCorruptionError(errors: CorruptionErrors, reference: Reference): number | null {
  return meanOf(Object.entries(reference.errors).map(([name, own]) => corruptionError(errors[name], own)));
}

/** The mean over corruptions of Σ_s (E_{s,c} − E_clean) ⁄ Σ_s (E^ref_{s,c} − E^ref_clean). */
export function relativeMeanCorruptionError(
  errors: CorruptionErrors,
  clean: number,
  reference: Reference,
): number | null {
  const { clean: own, errors: others } = reference;
  if (own === null) return null;
  return meanOf(
    Object.entries(others).map(([name, other]) =>
      corruptionError(
        errors[name]?.map((error) => error - clean),
        other - own,
      ),
    ),
  );
}

function meanOf(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length < values.length || known.length === 0 ? null : mean(known);
}
