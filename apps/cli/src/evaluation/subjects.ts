// Whoever is asked, from what the command line names: a checkpoint of the store, the folder of a published encoder, a
// language model. Its identity says what its answers depend on, by hashes.

import { readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { BUILTIN, checkpointWeights, EncoderSubject, preprocessingOf, readWeightFile } from '@fovea/alignment';
import { FoveaError, type Framing, fileHash, sha256Hex } from '@fovea/artifacts';
import { encoderSubject, type JudgedEncoder, probeSubject, type Subject, type Suite } from '@fovea/benchmarks/judging';
import { loadRecipe } from '@fovea/recipe';
import type { Device } from '@fovea/tensor';
import { type FoundCheckpoint, findCheckpoint } from '../checkpoints.ts';
import { type Home, openHomeStore } from '../home.ts';
import type { EvalRequest, SubjectRequest } from './request.ts';

export interface OpenSubjects {
  /** For people. */
  title: string;
  /** In order of preference; of a suite's questions the first that does not refuse answers. */
  subjects: Subject[];
  dispose(): Promise<void>;
}

/** Opens the subject of a request. Throws a FoveaError where it cannot be used. */
export async function openSubjects(home: Home, { subject, as, device }: EvalRequest): Promise<OpenSubjects> {
  if (subject.from === 'lm') throw new FoveaError('Language models cannot be asked by this version; give --encoder.');
  if (subject.from === 'answers') throw new Error('Answers of a file are not asked for.');
  const { judged, title, dispose } = await open(home, subject, device as Device);
  return { title, subjects: subjectsOf(judged, as), dispose };
}

function open(home: Home, subject: Encoding, device: Device): Promise<Opened> {
  if (subject.from === 'checkpoint') return openCheckpoint(home, subject, device);
  return subject.from === 'builtin' ? openBuiltin(subject.weights, device) : openFolder(home, subject.folder, device);
}

function subjectsOf(judged: JudgedEncoder, as: EvalRequest['as']): Subject[] {
  if (as === 'encoder') return [encoderSubject(judged)];
  if (as === 'probe') return [probeSubject(judged)];
  if (as === 'blind') throw new FoveaError('The blind control cannot be asked by this version.');
  return [encoderSubject(judged), probeSubject(judged)];
}

/** The first that answers a suite, or why none does. */
export function choose(subjects: readonly Subject[], suite: Suite): Subject | { refusal: string } {
  const refusals = subjects.map((subject) => subject.refuses(suite));
  const at = refusals.indexOf(null);
  return at < 0 ? { refusal: refusals.filter((why) => why !== null).join(' ') } : subjects[at];
}

type Encoding = Extract<SubjectRequest, { from: 'checkpoint' | 'builtin' | 'encoder' }>;

interface Opened {
  judged: JudgedEncoder;
  title: string;
  dispose(): Promise<void>;
}

const engine = createRequire(createRequire(import.meta.url).resolve('@fovea/tensor'))('onnxruntime-node/package.json');
const COMPUTED = { engine: `onnxruntime-node ${(engine as { version: string }).version}`, dtype: 'float32' };
/** Texts come from a suite as they are to be read. */
const asItIs = (text: string): string => text;

async function openCheckpoint(
  home: Home,
  { id, run }: Extract<SubjectRequest, { from: 'checkpoint' }>,
  device: Device,
): Promise<Opened> {
  const store = await openHomeStore(home);
  const found = await findCheckpoint(store, id, run);
  const { recipe, recipeDir, sources } = found.run;
  const file = await checkpointWeights(store, found.id, recipe);
  const subject = await EncoderSubject.open(file, recipe, recipeDir, { device, prompt: asItIs });
  const { kind } = recipe.encoder;
  const framing = await framingOf(recipe.encoder, recipeDir);
  const { from: _from, ...encoder } = recipe.encoder as { from?: string };
  const identity = {
    ...COMPUTED,
    device,
    checkpoint: found.id,
    encoder: { ...encoder, kind },
    files: sources?.['encoder.from'] ?? null,
  };
  return { judged: judgedOf(subject, identity, framing), title: titleOf(found), dispose: () => subject.dispose() };
}

const titleOf = ({ id, role, run }: FoundCheckpoint): string =>
  `checkpoint ${id.slice(0, 12)}, ${role} of run ${run.id}`;

async function framingOf(encoder: { kind: string; from?: string }, recipeDir: string): Promise<Framing | null> {
  return encoder.kind === 'pretrained' ? preprocessingOf(path.resolve(recipeDir, encoder.from as string)) : null;
}

/** Weights that ship with Fovea, under the recipe that made them. */
async function openBuiltin(weights: string, device: Device): Promise<Opened> {
  const file = await readWeightFile(weights, '');
  const { recipe } = await loadRecipe(weights.slice('builtin:'.length));
  const subject = await EncoderSubject.open(file, recipe, '', { device, prompt: asItIs });
  const identity = { ...COMPUTED, device, weights: await fileHash(BUILTIN[weights]), encoder: recipe.encoder };
  return { judged: judgedOf(subject, identity, null), title: weights, dispose: () => subject.dispose() };
}

async function openFolder(home: Home, folder: string, device: Device): Promise<Opened> {
  const framing = await preprocessingOf(folder);
  const subject = await EncoderSubject.pretrained(folder, { device, prompt: asItIs });
  const files = await filesHash(folder, home.cacheDir);
  const identity = { ...COMPUTED, device, files };
  return { judged: judgedOf(subject, identity, framing), title: `encoder ${folder}`, dispose: () => subject.dispose() };
}

/** Of all files that may say something of an encoder, by name: weights, configuration, tokenizer, preprocessing. */
async function filesHash(folder: string, cacheDir: string): Promise<string> {
  const names = (await readdir(folder)).filter((name) => /\.(safetensors|json|txt|model)$/.test(name)).sort();
  const hashes: string[] = [];
  for (const name of names) hashes.push(`${name} ${await fileHash(path.join(folder, name), cacheDir)}`);
  return sha256Hex(hashes.join('\n'));
}

function judgedOf(subject: EncoderSubject, identity: Record<string, unknown>, framing: Framing | null): JudgedEncoder {
  const own = framing && {
    resize: framing.resize,
    resample: framing.resample,
    crop: framing.crop,
    cropRounding: framing.cropRounding,
  };
  return { encoder: subject, identity, imageSize: subject.imageSize, framing: own, logitScale: subject.logitScale };
}
