// Parameter groups: which parameters of a stage learn at which rate. A group is a regular expression over names, and the
// first that matches a parameter takes it; what none matches has the stage's own rate. A group that takes nothing is a
// mistake in the recipe, never a silence (DEEM's `mmdecoder` for `mm_decoder` trained its language model ten times too fast).

import { FoveaError } from '@fovea/artifacts';
import type { Stage } from '@fovea/recipe';
import { type Spec, sizeOf } from '@fovea/tensor';
import type { Rate } from './optim.ts';

export interface ParameterGroup {
  /** The expression as the recipe has it; `null` for the parameters that no group takes. */
  match: string | null;
  lr: number;
  weightDecay: number;
  names: string[];
  /** Numbers in them. */
  parameters: number;
}

/** The groups of a stage over the parameters that it trains. Throws a {@link FoveaError} for a group that takes nothing. */
export function parameterGroups(stage: Stage, params: Record<string, Pick<Spec, 'shape'>>): ParameterGroup[] {
  const groups: ParameterGroup[] = [...stage.groups, { match: null }].map((group) => ({
    match: group.match,
    lr: group.match === null ? stage.lr : group.lr,
    weightDecay: (group.match === null ? undefined : group.weightDecay) ?? stage.weightDecay,
    names: [],
    parameters: 0,
  }));
  for (const [name, { shape }] of Object.entries(params)) {
    const group = groups.find(({ match }) => match === null || new RegExp(match).test(name)) as ParameterGroup;
    group.names.push(name);
    group.parameters += sizeOf(shape);
  }
  const empty = groups.find(({ match, names }) => match !== null && names.length === 0);
  if (empty) {
    const some = Object.keys(params).slice(0, 3).join(', ');
    throw new FoveaError(
      `The group "${empty.match}" of stage ${stage.stage} takes no parameter: the stage trains ${some} and others, or an earlier group took them; mend the expression or remove the group.`,
    );
  }
  return groups.filter(({ names }) => names.length > 0);
}

/** By parameter, as the optimiser asks. */
export function ratesOf(stage: Stage, params: Record<string, Pick<Spec, 'shape'>>): (name: string) => Rate {
  const rates = new Map<string, Rate>();
  for (const { names, lr, weightDecay } of parameterGroups(stage, params))
    for (const name of names) rates.set(name, { scale: lr / stage.lr, weightDecay });
  return (name) => rates.get(name) as Rate;
}
