// A run's networks as one bag of named weights, and which of them a stage trains. The recipe fixes the shapes; the
// vocabulary comes with the weights.

import {
  type DenoiserConfig,
  denoiserSpecs,
  type LoraConfig,
  loraSpecs,
  type ParamSpecs,
  projectorSpecs,
  type TextConfig,
  textSpecs,
  type VisionConfig,
  visionSpecs,
} from '@fovea/models';
import type { AlignStage, Recipe, Stage } from '@fovea/recipe';

export interface ModelConfig {
  vision: VisionConfig;
  text: TextConfig;
  denoiser: DenoiserConfig;
}

export function modelConfig(recipe: Recipe, vocabulary: number): ModelConfig {
  const { imageSize } = recipe.data;
  return {
    vision: { imageSize, ...recipe.encoder },
    text: { vocabulary, width: recipe.encoder.width, projection: recipe.encoder.projection },
    denoiser: { imageSize, ...recipe.denoiser },
  };
}

/** Every parameter of the run's networks, without adapters. */
export function modelSpecs(config: ModelConfig): ParamSpecs {
  return {
    ...visionSpecs(config.vision),
    ...textSpecs(config.text),
    ...projectorSpecs(config.vision.width, config.denoiser),
    ...denoiserSpecs(config.denoiser),
  };
}

/** The module that a parameter belongs to, for gradient norms. */
export function moduleOf(name: string): 'vision' | 'text' | 'projector' | 'denoiser' {
  if (name.startsWith('denoiser.')) return 'denoiser';
  if (name.startsWith('projector.')) return 'projector';
  return name.startsWith('vision_model.') || name.startsWith('visual_projection.') ? 'vision' : 'text';
}

export const loraOf = (stage: Stage): LoraConfig | null =>
  stage.stage === 'align' && stage.trainable !== 'full' ? stage.trainable : null;

/** The recipe's adapters, if its align stage has any. */
export function recipeLora(recipe: Recipe): LoraConfig | null {
  const align = recipe.stages.find((stage): stage is AlignStage => stage.stage === 'align');
  return align ? loraOf(align) : null;
}

/** Parameters that a stage trains: names and shapes. Everything else is frozen. */
export function trainableSpecs(stage: Stage, config: ModelConfig): ParamSpecs {
  const lora = loraOf(stage);
  if (lora) return loraSpecs(visionSpecs(config.vision), lora);
  if (stage.stage === 'pretrain') return { ...visionSpecs(config.vision), ...textSpecs(config.text) };
  if (stage.stage === 'projector')
    return { ...projectorSpecs(config.vision.width, config.denoiser), ...denoiserSpecs(config.denoiser) };
  const specs = visionSpecs(config.vision);
  if (stage.contrastive === 0 && stage.retention === 0) delete specs['visual_projection.weight'];
  return specs;
}
