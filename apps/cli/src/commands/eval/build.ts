// `fovea eval build KIND`: makes a suite folder from files of the user's. Pictures stay where they are; an evaluation is told
// their folder by --images.

import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import { BUILDERS, type FilterModel, writeSuite } from '@fovea/benchmarks/judging';
import { parseMapping, setField } from '@fovea/recipe';
import { type ArgsDef, defineCommand } from 'citty';
import { listOf } from '../../arguments.ts';
import { knownOptions } from '../../evaluation/known-options.ts';
import { fromUser } from '../../evaluation/request.ts';
import { encodingOf, type OpenEncoder, openEncoder, weightsId } from '../../evaluation/subjects.ts';
import { findHome, shown } from '../../home.ts';

const args = {
  kind: {
    type: 'positional',
    required: true,
    valueHint: Object.keys(BUILDERS).join('|'),
    description: 'What to build, or from which published files',
  },
  out: { type: 'string', valueHint: 'FOLDER', description: 'The new folder (default: the suite’s name)' },
  options: { type: 'string', valueHint: 'FILE', description: 'Options of the builder as YAML or JSON' },
  set: {
    type: 'string',
    multiple: true,
    valueHint: 'field=value',
    description: 'Set one option, such as from.images=DIR; may be given several times',
  },
  filter: {
    type: 'string',
    valueHint: 'ENCODER',
    description:
      'Encoder that chooses wrong names, or is fooled by pairs: a folder, builtin:emoji-foil or a checkpoint',
  },
  other: { type: 'string', valueHint: 'ENCODER', description: 'For pairs: the encoder that tells them apart' },
  json: { type: 'boolean', description: 'Print one JSON document' },
} satisfies ArgsDef & Record<string, { multiple?: boolean }>;

export default defineCommand({
  meta: { name: 'build', description: 'Make a suite folder from your own files' },
  args,
  async run({ args }) {
    if (!Object.hasOwn(BUILDERS, args.kind))
      throw new FoveaError(
        `\`fovea eval build\` knows ${Object.keys(BUILDERS).join(', ')}; it does not "${args.kind}".`,
      );
    const { build, options: schema } = BUILDERS[args.kind];
    const given = await optionsOf(args.options, listOf(args.set));
    // Paths in the options are from where the user stands.
    process.chdir(fromUser('.'));
    const parsed = schema.safeParse(given);
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      const where = issue.path.join('.') || 'its top';
      throw new FoveaError(
        `The options of \`fovea eval build ${args.kind}\` are not right at ${where}: ${issue.message}; there are ${knownOptions(schema, issue.path).join(', ')}.`,
      );
    }
    const out = args.out === undefined ? null : fromUser(args.out);
    if (out !== null) await refuseThere(out);
    const draft = await withFilters([args.filter, args.other], ([filter, other]) =>
      build(given as never, { filter, other }),
    );
    const folder = out ?? fromUser(draft.name);
    const manifest = await writeSuite(folder, draft);
    if (args.json) return console.log(JSON.stringify({ folder, manifest }, null, 2));
    console.log(`${shown(folder)}: ${manifest.items.count} questions (${manifest.kind})`);
    if (manifest.omitted.length > 0)
      console.log(`left out: ${manifest.omitted.length}; the first: ${reason(manifest)}`);
    for (const note of manifest.notes) console.log(`note: ${note}`);
  },
});

/** Opens the encoders that a builder asks, and lets them go. */
async function withFilters<T>(
  given: (string | undefined)[],
  use: (filters: (FilterModel | null)[]) => Promise<T>,
): Promise<T> {
  const home = findHome();
  const opened: OpenEncoder[] = [];
  try {
    const filters: (FilterModel | null)[] = [];
    for (const what of given) {
      if (what === undefined) {
        filters.push(null);
        continue;
      }
      const folder = fromUser(what);
      const isFolder = (await stat(folder).catch(() => null))?.isDirectory() === true;
      const subject = isFolder ? { from: 'encoder' as const, folder } : await encodingOf(home, what);
      const encoder = await openEncoder(home, subject, 'cpu');
      opened.push(encoder);
      filters.push({ judged: encoder.judged, id: weightsId(encoder.judged) });
    }
    return await use(filters);
  } finally {
    for (const { dispose } of opened) await dispose();
  }
}

const reason = ({ omitted: [{ what, reason }] }: { omitted: { what: string; reason: string }[] }): string =>
  `${what}: ${reason}`;

/** Before hours of work, not after. */
async function refuseThere(folder: string): Promise<void> {
  if (await stat(folder).catch(() => null))
    throw new FoveaError(`The folder "${shown(folder)}" is there already; remove it, or give another --out.`);
}

const MAX_BYTES = 2 ** 20;

async function optionsOf(file: string | undefined, set: string[]): Promise<Record<string, unknown>> {
  const given = file === undefined ? {} : parseMapping(await textOf(fromUser(file)), `options file "${file}"`);
  for (const each of set) setField(given, each);
  return given;
}

async function textOf(file: string): Promise<string> {
  const info = await stat(file).catch(() => null);
  if (!info?.isFile() || info.size > MAX_BYTES)
    throw new FoveaError(`The options file "${path.basename(file)}" cannot be read: no such file, or it is too large.`);
  return readFile(file, 'utf8');
}
