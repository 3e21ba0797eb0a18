// `fovea eval run`: asks a subject the questions of suites and judges the answers. Asked again with the same words, it goes
// on where it was left. Without suites it scores a checkpoint on those of its recipe.

import { FoveaError } from '@fovea/artifacts';
import { SUITES } from '@fovea/benchmarks';
import { ALL_TWINS } from '@fovea/benchmarks/judging';
import { DEVICES } from '@fovea/tensor';
import { defineCommand } from 'citty';
import { wholeNumber } from '../../arguments.ts';
import { execute } from '../../evaluation/execute.ts';
import { printEvaluation } from '../../evaluation/print.ts';
import { progressLine } from '../../evaluation/progress-line.ts';
import { scoreRecipeSuites } from '../../evaluation/recipe-suites.ts';
import { type EvalRequest, fromUser, ROLES_OF_SUBJECT, type SubjectRequest } from '../../evaluation/request.ts';
import { evalsFolder, scoringArgs, scoringWishes } from '../../evaluation/scoring-args.ts';
import { encodingOf, isAddress } from '../../evaluation/subjects.ts';
import { nameSuites } from '../../evaluation/suites.ts';
import { findHome, type Home } from '../../home.ts';

export default defineCommand({
  meta: { name: 'run', description: 'Ask a checkpoint, an encoder or a language model the questions of suites' },
  args: {
    suites: {
      type: 'string',
      valueHint: 'A,B',
      description: `Suite folders, or names of built-in ones (\`${ALL_TWINS}\` for all); without it those of the recipe`,
    },
    images: { type: 'string', valueHint: 'DIR', description: 'Your folder of pictures, for suites that have none' },
    checkpoint: {
      type: 'string',
      valueHint: 'ID',
      description: 'Checkpoint id or its first characters, a role, latest (the default), or builtin:emoji',
    },
    run: { type: 'string', valueHint: 'RUN', description: 'Look for the checkpoint only in this run' },
    encoder: { type: 'string', valueHint: 'FOLDER', description: 'A published encoder, as from_pretrained takes it' },
    lm: { type: 'string', valueHint: 'FOLDER|URL', description: 'A language model, or a server that speaks for one' },
    model: { type: 'string', valueHint: 'NAME', description: 'Which of the server’s models' },
    words: { type: 'boolean', description: 'Let a language model answer in words, not by likelihoods' },
    detector: { type: 'string', valueHint: 'FILE', description: 'CenterNet, whose boxes answer what is there' },
    answers: { type: 'string', valueHint: 'FILES', description: 'Answers that you have: judge them and ask nobody' },
    subject: {
      type: 'string',
      default: 'auto',
      valueHint: ROLES_OF_SUBJECT.join('|'),
      description: 'How an encoder answers: auto compares texts, and probes its features where that cannot answer',
    },
    out: { type: 'string', valueHint: 'DIR', description: 'Folder of evaluations (default: evals beside runs)' },
    name: { type: 'string', valueHint: 'NAME', description: 'Folder of this one in there (default: of its key)' },
    limit: {
      type: 'string',
      valueHint: 'N',
      description: 'About N questions of each suite, whole clusters, every stratum',
    },
    seed: { type: 'string', default: '0', valueHint: 'number', description: 'Seed of what --limit draws' },
    device: { type: 'string', default: 'cpu', valueHint: DEVICES.join('|'), description: 'Where encoders run' },
    'retry-errors': { type: 'boolean', description: 'Ask again what ended as an error' },
    ...scoringArgs,
    suite: {
      type: 'string',
      valueHint: 'NAMES',
      description: `Of the recipe's suites only these: ${SUITES.join(', ')}`,
    },
    json: { type: 'boolean', description: 'Print one JSON document' },
  },
  async run({ args }) {
    if (args.suites === undefined) {
      const stray = ['images', 'encoder', 'lm', 'answers', 'limit', 'name'].find(
        (flag) => flag in args && args[flag as 'lm'],
      );
      if (stray)
        throw new FoveaError(`\`fovea eval run --${stray}\` needs suites: --suites with folders or built-in names.`);
      const { checkpoint = 'latest', run, suite, json } = args;
      return scoreRecipeSuites({ checkpoint, run, suite, json });
    }
    if (args.suite !== undefined)
      throw new FoveaError("--suite chooses among the recipe's suites; with --suites leave it out.");
    const home = findHome();
    const wishes = scoringWishes(args);
    const request: EvalRequest = {
      suites: await nameSuites(args.suites, fromUser),
      images: args.images === undefined ? null : fromUser(args.images),
      subject: await subjectOf(home, args),
      as: oneOf('subject', args.subject, ROLES_OF_SUBJECT),
      limit: args.limit === undefined ? null : wholeNumber('limit', args.limit, 1, 10_000_000),
      seed: wholeNumber('seed', args.seed, 0, 2 ** 32 - 1),
      device: oneOf('device', args.device, DEVICES),
    };
    const place = { out: args.out === undefined ? evalsFolder(home) : fromUser(args.out), name: nameOf(args.name) };
    const line = progressLine(args.json);
    const done = await execute(home, request, place, {
      ...wishes,
      retryErrors: args['retry-errors'],
      progress: line.show,
    });
    line.end();
    process.exitCode = await printEvaluation(done, args.json ?? false);
  },
});

async function subjectOf(
  home: Home,
  args: Partial<Record<'checkpoint' | 'run' | 'encoder' | 'lm' | 'model' | 'detector' | 'answers', string>> & {
    words?: boolean;
  },
): Promise<SubjectRequest> {
  const given = (['checkpoint', 'encoder', 'lm', 'detector', 'answers'] as const).filter(
    (flag) => args[flag] !== undefined,
  );
  if (given.length > 1)
    throw new FoveaError(`One subject at a time: --${given[0]} and --${given[1]} cannot be given together.`);
  if (args.encoder !== undefined) return { from: 'encoder', folder: fromUser(args.encoder) };
  if (args.answers !== undefined)
    return { from: 'answers', files: args.answers.split(',').map((file) => fromUser(file.trim())) };
  if (args.detector !== undefined) return { from: 'detector', file: fromUser(args.detector) };
  if (args.lm !== undefined) {
    const place = isAddress(args.lm) ? args.lm : fromUser(args.lm);
    return { from: 'lm', place, model: args.model ?? null, words: args.words ?? false };
  }
  return encodingOf(home, args.checkpoint ?? 'latest', args.run);
}

function oneOf<T extends string>(flag: string, text: string, all: readonly T[]): T {
  if (all.includes(text as T)) return text as T;
  throw new FoveaError(`The flag --${flag} takes ${all.join(', ')}; not "${text}".`);
}

function nameOf(name: string | undefined): string | undefined {
  if (name === undefined || /^[A-Za-z0-9][\w.-]{0,99}$/.test(name)) return name;
  throw new FoveaError(`An evaluation cannot be named "${name}"; use letters, digits, dots and dashes.`);
}
