// Whoever is asked, from what the command line names: a checkpoint of the store, the folder of a published encoder, a
// language model. Its identity says what its answers depend on, by hashes.

import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { BUILTIN, checkpointWeights, EncoderSubject, preprocessingOf, readWeightFile } from '@fovea/alignment';
import { FoveaError, fileHash, sha256Hex } from '@fovea/artifacts';
import {
  answersSubject,
  asItIs,
  BATCH,
  blindSubject,
  COMPUTED,
  detectorSubject,
  encoderSubject,
  type JudgedEncoder,
  judgedOf,
  languageModelSubject,
  openCheckpoint as openRunCheckpoint,
  probeSubject,
  type Subject,
  serverSubject,
} from '@fovea/benchmarks/judging';
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
  if (isEncoding(subject)) {
    const { judged, title, dispose } = await openEncoder(home, subject, device as Device);
    return { title, subjects: subjectsOf(judged, as), dispose };
  }
  if (as === 'encoder' || as === 'probe')
    throw new FoveaError(`Only an encoder is asked as --subject ${as}; leave that out.`);
  const { answering, title } = await openAnswering(home, subject, device as Device);
  const subjects = [as === 'blind' ? blindSubject(answering) : answering];
  return { title, subjects, dispose: () => answering.dispose() };
}

/** Whoever answers by itself: a model that talks, a detector, a file. */
async function openAnswering(
  home: Home,
  subject: Exclude<SubjectRequest, Encoding>,
  device: Device,
): Promise<{ answering: Subject; title: string }> {
  if (subject.from === 'answers')
    return {
      answering: await answersSubject(subject.files),
      title: `answers of ${subject.files.map((file) => path.basename(file)).join(', ')}`,
    };
  if (subject.from === 'detector')
    return { answering: await detectorSubject(subject.file, { device }), title: 'detector CenterNet' };
  const { place, model, words } = subject;
  const answers = words ? 'text' : 'scores';
  if (!isAddress(place)) {
    const answering = await languageModelSubject(place, { device, answers, cacheDir: home.cacheDir });
    return { answering, title: `language model ${path.basename(place)}` };
  }
  if (model === null) throw new FoveaError('A server may run several models; name the one to ask with --model.');
  return { answering: await serverSubject({ baseUrl: place, model, answers }), title: `language model ${model}` };
}

/** Whether a language model is named by the address of its server. */
export const isAddress = (place: string): boolean => /^https?:\/\//i.test(place);

/** An encoder with what identifies it, for asking it or for building suites with its help. */
export function openEncoder(home: Home, subject: Encoding, device: Device): Promise<OpenEncoder> {
  if (subject.from === 'checkpoint') return openCheckpoint(home, subject, device);
  return subject.from === 'builtin' ? openBuiltin(subject.weights, device) : openFolder(home, subject.folder, device);
}

function subjectsOf(judged: JudgedEncoder, as: EvalRequest['as']): Subject[] {
  if (as === 'encoder') return [encoderSubject(judged)];
  if (as === 'probe') return [probeSubject(judged)];
  const both = [encoderSubject(judged), probeSubject(judged)];
  return as === 'blind' ? both.map(blindSubject) : both;
}

export type Encoding = Extract<SubjectRequest, { from: 'checkpoint' | 'builtin' | 'encoder' }>;

/** What a user calls an encoder: shipped weights, or a checkpoint by id, role or `latest`. */
export async function encodingOf(home: Home, what: string, inRun?: string): Promise<Encoding> {
  if (what.startsWith('builtin:')) return { from: 'builtin', weights: what };
  const { id, run } = await findCheckpoint(await openHomeStore(home), what, inRun);
  return { from: 'checkpoint', id, run: run.id };
}

const isEncoding = (subject: SubjectRequest): subject is Encoding =>
  ['checkpoint', 'builtin', 'encoder'].includes(subject.from);

/** The hash that names an encoder's weights. */
export function weightsId({ identity }: JudgedEncoder): string {
  const { checkpoint, weights, files } = identity;
  return (checkpoint ?? weights ?? files) as string;
}

export interface OpenEncoder {
  judged: JudgedEncoder;
  title: string;
  dispose(): Promise<void>;
}

async function openCheckpoint(
  home: Home,
  { id, run }: Extract<SubjectRequest, { from: 'checkpoint' }>,
  device: Device,
): Promise<OpenEncoder> {
  const store = await openHomeStore(home);
  const found = await findCheckpoint(store, id, run);
  const { recipe, recipeDir, sources } = found.run;
  const file = await checkpointWeights(store, found.id, recipe);
  const opened = await openRunCheckpoint({ file, checkpoint: found.id, recipe, recipeDir, sources, device });
  return { ...opened, title: titleOf(found) };
}

const titleOf = ({ id, role, run }: FoundCheckpoint): string =>
  `checkpoint ${id.slice(0, 12)}, ${role} of run ${run.id}`;

/** Weights that ship with Fovea, under the recipe that made them. */
async function openBuiltin(weights: string, device: Device): Promise<OpenEncoder> {
  const file = await readWeightFile(weights, '');
  const { recipe } = await loadRecipe(weights.slice('builtin:'.length));
  const subject = await EncoderSubject.open(file, recipe, '', { device, prompt: asItIs, batch: BATCH });
  const identity = { ...COMPUTED, device, weights: await fileHash(BUILTIN[weights]), encoder: recipe.encoder };
  return { judged: judgedOf(subject, identity, null), title: weights, dispose: () => subject.dispose() };
}

async function openFolder(home: Home, folder: string, device: Device): Promise<OpenEncoder> {
  const framing = await preprocessingOf(folder);
  const subject = await EncoderSubject.pretrained(folder, { device, prompt: asItIs, batch: BATCH });
  const files = await filesHash(folder, home.cacheDir);
  const identity = { ...COMPUTED, device, files };
  return {
    judged: judgedOf(subject, identity, framing),
    title: `encoder ${path.basename(folder)}`,
    dispose: () => subject.dispose(),
  };
}

/** Of all files that may say something of an encoder, by name: weights, configuration, tokenizer, preprocessing. */
async function filesHash(folder: string, cacheDir: string): Promise<string> {
  const names = (await readdir(folder)).filter((name) => /\.(safetensors|json|txt|model)$/.test(name)).sort();
  const hashes: string[] = [];
  for (const name of names) hashes.push(`${name} ${await fileHash(path.join(folder, name), cacheDir)}`);
  return sha256Hex(hashes.join('\n'));
}
