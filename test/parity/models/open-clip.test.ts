import { fromOpenClip, readOpenClipConfig, toOpenClip, type Weights } from '@fovea/models';
import { describe, expect, it } from 'vitest';
import { readFixture, under } from './parity.ts';

const { about, tensors } = readFixture('open-clip-names');
const weights = (prefix: string): Weights =>
  Object.fromEntries(
    Object.entries(under(tensors, prefix)).map(([name, { shape, data }]) => [
      name,
      { shape, data: data as Float32Array },
    ]),
  );
const openClip = weights('open_clip/');
const clip = weights('clip/');
const { layers, config } = readOpenClipConfig(about.open_clip, 'open_clip_config.json');

describe('state dicts of open_clip', () => {
  it('are the same tensors as transformers has, under its names, and the same again on the way back', () => {
    expect(fromOpenClip(openClip, layers, 'a')).toEqual(clip);
    expect(toOpenClip(clip, layers, 'a')).toEqual(openClip);
  });

  it('have a configuration that transformers would read as the same network', () => {
    for (const tower of ['vision_config', 'text_config'])
      expect(about.clip[tower]).toMatchObject(config[tower] as object);
    expect(about.clip).toMatchObject({ model_type: config.model_type, projection_dim: config.projection_dim });
  });

  it('are refused with all names that are missing or left over', () => {
    const { 'visual.proj': _, 'ln_final.bias': __, ...rest } = openClip;
    const odd = { ...rest, 'visual.head.x': openClip.logit_scale };
    expect(() => fromOpenClip(odd, layers, 'w.safetensors')).toThrow(
      /w\.safetensors lack visual\.proj, ln_final\.bias and hold visual\.head\.x/,
    );
    expect(() => fromOpenClip(openClip, { ...layers, text: 2 }, 'w')).toThrow(/lack transformer\.resblocks\.1\.ln_1/);
    expect(() => toOpenClip(openClip, layers, 'w')).toThrow(/lack vision_model/);
  });

  it('leave a tower of timm under its own names', () => {
    const text = Object.fromEntries(Object.entries(openClip).filter(([name]) => !name.startsWith('visual.')));
    const mixed = { ...text, 'visual.trunk.stem.0.bias': openClip.logit_scale };
    const json = { model_cfg: { ...about.open_clip.model_cfg, vision_cfg: { timm_model_name: 'convnext_base' } } };
    const timm = readOpenClipConfig(json, 'c.json');
    expect(timm.layers).toEqual({ vision: null, text: 1 });
    expect(timm.config.vision_config).toBeUndefined();
    const named = fromOpenClip(mixed, timm.layers, 'a');
    expect(named['visual.trunk.stem.0.bias']).toBe(openClip.logit_scale);
    expect(named['text_projection.weight']).toEqual(clip['text_projection.weight']);
    expect(toOpenClip(named, timm.layers, 'a')).toEqual(mixed);
  });

  it('of towers that CLIP does not have are refused by the field', () => {
    const change = (part: string, fields: object) => {
      const { model_cfg } = about.open_clip;
      return { model_cfg: { ...model_cfg, [part]: { ...model_cfg[part], ...fields } } };
    };
    expect(() => readOpenClipConfig(change('text_cfg', { proj_bias: true }), 'c.json')).toThrow(/c\.json.*proj_bias/);
    expect(() => readOpenClipConfig(change('vision_cfg', { pool_type: 'avg' }), 'c.json')).toThrow(/pool_type/);
  });
});
