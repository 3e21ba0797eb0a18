// The bench through the real command, without peers and, where FOVEA_PYTHON names a Python with torch, beside PyTorch;
// and the check that refuses to time two different computations.

import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHome } from '../../test-fixtures/cli.ts';
import { compareDigests } from './parity.ts';
import { findPeers, PeerProcess } from './peers.ts';
import { quantile } from './statistics.ts';

let dir: string;
let home: TestHome;
beforeAll(async () => {
  dir = await realpath(await mkdtemp(path.join(tmpdir(), 'fovea-bench-test-')));
  home = new TestHome(dir);
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const number = expect.any(Number);
const ran = async (args: string[], env: NodeJS.ProcessEnv = {}) => {
  const { code, out, err } = await home.fovea(['bench', ...args], { FOVEA_PYTHON: '', ...env }).ended;
  return { code, out, err };
};

describe('fovea bench', () => {
  it('measures us and names who is absent, as JSON of the promised form', async () => {
    const { code, out, err } = await ran(['--json', '--quick', '--threads', '1', '--case', 'encoder-inference']);
    expect(err).toBe('');
    expect(code).toBe(0);
    const { threads, pairs, cases } = JSON.parse(out);
    expect({ threads, pairs, names: cases.map((each: { name: string }) => each.name) }).toEqual({
      threads: 1,
      pairs: 3,
      names: ['encoder-inference'],
    });
    const [{ peers, absent, opTypes, ...rest }] = cases;
    expect(rest).toEqual({
      name: 'encoder-inference',
      oursMs: number,
      oursPeakMB: number,
      batch: 128,
      build: { nodes: number, traceMs: number, sessionMs: number },
    });
    expect(rest.oursMs).toBeGreaterThan(0);
    expect(rest.oursPeakMB).toBeGreaterThan(10);
    expect(absent).toMatchObject({
      torchEager: 'set FOVEA_PYTHON to a Python that has torch',
      torchCompile: 'set FOVEA_PYTHON to a Python that has torch',
      jax: 'set FOVEA_PYTHON to a Python that has jax',
    });
    expect(Object.keys({ ...peers, ...absent }).sort()).toEqual(['jax', 'tfjsNode', 'torchCompile', 'torchEager']);
    expect(opTypes.map(({ op }: { op: string }) => op)).toContain('LayerNormalization');
    expect(opTypes[0]).toEqual({ op: expect.any(String), ms: number, nodes: number });
  }, 120_000);

  it('heeds the --json that npm keeps for itself', async () => {
    const args = ['--pairs', '1', '--case', 'encoder-inference', '--peer', 'jax'];
    const { out } = await ran(args, { npm_config_json: 'true' });
    const [only] = JSON.parse(out).cases;
    expect(only.peers).toEqual({});
    expect(Object.keys(only.absent)).toEqual(['jax']);
  }, 120_000);

  it.each([
    [['--case', 'vit'], /--case takes some of align-step, vit-stack, unet-stack, encoder-inference, .*not "vit"/],
    [['--peer', 'numpy'], /--peer takes some of torchEager, torchCompile, tfjsNode, jax, .*not "numpy"/],
    [['--threads', '0'], /--threads takes a whole number from 1 to 256, not "0"/],
    [['--pairs', 'many'], /--pairs takes a whole number from 1 to 1000, not "many"/],
  ])('refuses %j in one sentence', async (args, sentence) => {
    const { code, out, err } = await ran(args);
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(err).toMatch(sentence);
    expect(err.trim()).not.toContain('\n');
  });

  it('says when FOVEA_PYTHON is no Python', async () => {
    const { code, err } = await ran(['--quick'], { FOVEA_PYTHON: path.join(dir, 'no-python') });
    expect(code).toBe(2);
    expect(err).toMatch(
      /^FOVEA_PYTHON is ".*no-python", which does not run as Python .*; name another one or unset it\.\n$/,
    );
  });
});

const python = process.env.FOVEA_PYTHON ?? '';
const torch = python ? (await findPeers({ FOVEA_PYTHON: python })).torchEager : { absent: 'FOVEA_PYTHON is not set' };
const why = 'absent' in torch ? torch.absent : '';
if (why) console.log(`skipped the bench beside PyTorch: ${why}`);

describe.skipIf(why)('beside PyTorch', () => {
  it.each(['align-step', 'vit-stack', 'unet-stack', 'encoder-inference', 'encoder-pictures'])(
    '%s computes the same',
    async (name) => {
      const args = ['--json', '--pairs', '2', '--case', name, '--peer', 'torchEager'];
      const { code, out, err } = await ran(args, { FOVEA_PYTHON: python });
      expect(err).toBe('');
      expect(code).toBe(0);
      const [{ peers, absent }] = JSON.parse(out).cases;
      expect(absent).toEqual({});
      const { ratio, ratioLow, ratioHigh, ...rest } = peers.torchEager;
      expect(rest).toEqual({ ms: number, peakMB: number });
      expect(ratioLow).toBeLessThanOrEqual(ratio);
      expect(ratio).toBeLessThanOrEqual(ratioHigh);
    },
    180_000,
  );
});

describe('the check before timing', () => {
  const ours = new Map([
    ['loss', Float32Array.of(2)],
    ['state/m/w', Float32Array.of(1, 0.5, 1e-9)],
    ['state/p/w', Float32Array.of(1, 2, 3)],
  ]);
  const changed = (name: string, ...values: number[]) => new Map(ours).set(name, Float32Array.from(values));

  it('passes rounding, and parameters whose gradient is noise', () => {
    expect(compareDigests(ours, new Map(ours))).toBeNull();
    expect(compareDigests(ours, changed('loss', 2.001))).toBeNull();
    expect(compareDigests(ours, changed('state/p/w', 1, 2.000001, 3.001))).toBeNull();
  });

  it.each([
    ['another loss', changed('loss', 2.01), /^"loss" differs by 1\.00e-2/],
    ['a loss that is not a number', changed('loss', Number.NaN), /^"loss" differs by NaN/],
    ['another gradient', changed('state/m/w', 1, 0.51, 1e-9), /^"state\/m\/w" differs/],
    ['another update', changed('state/p/w', 1, 2.0001, 3), /^"state\/p\/w" differs/],
    ['another shape', changed('state/p/w', 1, 2), /^"state\/p\/w" has 2 elements there and 3 here/],
    ['more than ours', changed('grad/x', 1), /^we do not report "grad\/x"/],
    ['less than ours', new Map([['loss', Float32Array.of(2)]]), /^"state\/m\/w" is not reported there/],
  ])('refuses %s', (_what, theirs, reason) => {
    expect(compareDigests(ours, theirs)).toMatch(reason);
  });
});

describe('a peer', () => {
  const script = (code: string) => new PeerProcess([process.execPath, '-e', code], 1);

  it('that dies, is silent or cannot be started gives the reason', async () => {
    const dying = script('console.error("no such framework"); process.exit(3)');
    await expect(dying.ask({})).rejects.toThrow('its process ended with exit code 3 (no such framework)');
    await expect(script('setInterval(() => {}, 1000)').ask({}, 300)).rejects.toThrow('said nothing for 0.3 s');
    const missing = new PeerProcess([path.join(dir, 'nothing')], 1);
    await expect(missing.ask({})).rejects.toThrow(/could not be started: .*ENOENT/);
  });

  it('may write what it likes beside its replies', async () => {
    const chatty = script(`process.stdin.once('data', () => console.log('hello\\n{"ok":true,"ms":7}'))`);
    expect(await chatty.ask({})).toEqual({ ok: true, ms: 7 });
    chatty.close();
  });
});

it('quantiles lie between the sorted values', () => {
  expect([0, 0.1, 0.5, 1].map((q) => quantile([4, 1, 3, 2], q))).toEqual([1, 1.3, 2.5, 4]);
});
