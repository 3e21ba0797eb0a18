// The Llama family against transformers. llama.py wrote the fixtures.

import { llama, llamaEmbed, llamaLogits, llamaSpecs, readLlamaConfig } from '@fovea/models';
import { compile, type NamedTensors, type NumericArray } from '@fovea/tensor';
import { describe, expect, it } from 'vitest';
import { checkParity, expectClose, readFixture, under } from './parity.ts';

describe('Llama', () => {
  it.each([
    ['llama-tied', 'with grouped queries and one embedding, as SmolLM2'],
    ['llama-scaled', "with Llama 3.1's rotary scaling, past the length first trained on"],
    ['llama-heads', 'with a head for each query, heads of their own width and biases'],
    ['qwen2', 'as Qwen2, with biases on q, k and v'],
  ])('%s: %s', async (name) => {
    const fixture = readFixture(name);
    const config = readLlamaConfig(fixture.about, name);
    await checkParity(fixture, llamaSpecs(config), (p, { ids }) => {
      return { logits: llamaLogits(p, llama(p, llamaEmbed(p, ids), config).hidden, config) };
    });
  });

  it('reads the rest of a text after what it has read before, with stale rows behind and padding at the end', async () => {
    const { about, tensors } = readFixture('llama-scaled');
    const c = readLlamaConfig(about, 'llama-scaled');
    const [capacity, chunk] = [48, 16];
    const rows = [1, c.keyHeads, capacity, c.headWidth];
    const names = Array.from({ length: c.layers }, (_, i) => [`keys${i}`, `values${i}`]).flat();
    const params = under(tensors, 'param/');
    const program = await compile(
      ({ ids, length, ...past }: NamedTensors, _state, p) => {
        const pick = (kind: string) => Array.from({ length: c.layers }, (_, i) => past[`${kind}${i}`]);
        const out = llama(p, llamaEmbed(p, ids), c, { keys: pick('keys'), values: pick('values'), length });
        const next = Array.from({ length: c.layers }, (_, i) => [
          [`newkeys${i}`, out.keys[i]],
          [`newvalues${i}`, out.values[i]],
        ]).flat();
        return { outputs: { logits: llamaLogits(p, out.hidden, c), ...Object.fromEntries(next) } };
      },
      {
        inputs: {
          ids: { shape: [1, chunk], dtype: 'int32' },
          length: { shape: [1], dtype: 'int32' },
          ...Object.fromEntries(names.map((name) => [name, { shape: rows, dtype: 'float32' as const }])),
        },
        constants: params,
      },
    );
    const past = Object.fromEntries(
      names.map((name) => [name, new Float32Array(c.keyHeads * capacity * c.headWidth).fill(3)]),
    );
    const text = tensors['in/ids'].data;
    const logits: number[] = [];
    for (let start = 0; start < text.length; start += 7) {
      const part = text.slice(start, start + 7);
      const ids = new Int32Array(chunk).fill(5);
      ids.set(part);
      const out: Record<string, NumericArray> = await program.run({ ids, length: Int32Array.of(start), ...past });
      logits.push(...out.logits.slice(0, part.length * c.vocabulary));
      for (const name of names)
        for (let head = 0; head < c.keyHeads; head++)
          past[name].set(
            out[`new${name}`].slice(
              head * chunk * c.headWidth,
              (head * chunk + part.length) * c.headWidth,
            ) as Float32Array,
            (head * capacity + start) * c.headWidth,
          );
    }
    await program.dispose();
    expectClose(Float32Array.from(logits), tensors['out/logits'].data, 'logits');
  });

  it.each([
    [{ rope_scaling: { rope_type: 'yarn', factor: 4 } }, /yarn|rope_scaling/],
    [{ num_key_value_heads: 5 }, /num_key_value_heads — it must divide/],
    [{ use_sliding_window: true }, /a sliding window cannot be done/],
  ])('refuses %j by name', (change, message) => {
    expect(() => readLlamaConfig({ model_type: 'llama', ...change }, 'x')).toThrow(message);
  });
});
