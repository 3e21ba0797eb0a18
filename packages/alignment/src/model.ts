// Which of a run's weights are kept in its checkpoints, and which of them a stage trains.

import { type LoraConfig, loraSpecs, type ParamSpecs } from '@fovea/models';
import type { AlignStage, Recipe, Stage } from '@fovea/recipe';
import type { Networks } from './networks.ts';

/** Every parameter that the run's checkpoints hold, without adapters. */
export const modelSpecs = ({ encoder, text, connector, denoiser }: Networks): ParamSpecs => ({
  ...encoder.specs,
  ...text?.specs,
  ...connector.specs,
  ...(denoiser.isFrozen ? {} : denoiser.specs),
});

/** The module that a parameter belongs to, for gradient norms. */
export function moduleOf(name: string): 'vision' | 'text' | 'projector' | 'denoiser' {
  if (name.startsWith('denoiser.')) return 'denoiser';
  if (name.startsWith('projector.')) return 'projector';
  return isText(name) || name === 'logit_scale' ? 'text' : 'vision';
}

/** Whether a parameter is the text tower's own. */
export const isText = (name: string) => name.startsWith('text_');

export const loraOf = (stage: Stage): LoraConfig | null =>
  stage.stage === 'align' && stage.trainable !== 'full' ? stage.trainable : null;

/** The recipe's adapters, if its align stage has any. */
export function recipeLora(recipe: Recipe): LoraConfig | null {
  const align = recipe.stages.find((stage): stage is AlignStage => stage.stage === 'align');
  return align ? loraOf(align) : null;
}

/** Parameters that a stage trains: names and shapes. Everything else is frozen. */
export function trainableSpecs(stage: Stage, { encoder, text, connector, denoiser }: Networks): ParamSpecs {
  const own = denoiser.isFrozen ? {} : denoiser.specs;
  if (stage.stage === 'pretrain') return { ...encoder.specs, ...text?.specs };
  if (stage.stage === 'projector') return { ...connector.specs, ...own };
  const beside = {
    ...(stage.alsoTrains.includes('projector') && connector.specs),
    ...(stage.alsoTrains.includes('denoiser') && own),
  };
  const lora = loraOf(stage);
  if (lora) return { ...loraSpecs(encoder.specs, lora), ...beside };
  return { ...encoder.specs, ...beside };
}
