// `fovea recipe list|show NAME|check FILE`: the presets, one of them written out, or a recipe opened with its networks and its
// pictures. What a stage trains stands as a table of parameter groups, with what they hold and how fast they learn.

import { modelSpecs, type Networks, openNetworks, parameterGroups, trainableSpecs } from '@fovea/alignment';
import { FoveaError } from '@fovea/artifacts';
import { type LoadedRecipe, loadRecipe, presetNames } from '@fovea/recipe';
import { sizeOf } from '@fovea/tensor';
import { type ArgsDef, defineCommand } from 'citty';
import { listOf } from '../arguments.ts';
import { checkPictures, picturesText } from '../check-pictures.ts';
import { findHome } from '../home.ts';
import { table } from '../summary.ts';

const args = {
  action: { type: 'positional', required: true, valueHint: 'list|show|check', description: 'list, show or check' },
  recipe: { type: 'positional', required: false, valueHint: 'name|file', description: 'A preset, or a recipe file' },
  set: {
    type: 'string',
    multiple: true,
    valueHint: 'field=value',
    description: 'Set one field; may be given several times',
  },
  json: { type: 'boolean', description: 'Print one JSON document' },
} satisfies ArgsDef & Record<string, { multiple?: boolean }>;

export default defineCommand({
  meta: { name: 'recipe', description: 'List the presets, show one, or check a recipe and what its stages train' },
  args,
  async run({ args }) {
    const json = args.json === true;
    if (args.action === 'list') return list(json);
    if (args.action !== 'show' && args.action !== 'check')
      throw new FoveaError(`\`fovea recipe\` lists, shows or checks; it does not "${args.action}".`);
    if (!args.recipe)
      throw new FoveaError(`\`fovea recipe ${args.action}\` needs a recipe: the name of a preset or a file.`);
    const loaded = await loadRecipe(args.recipe, { set: listOf(args.set) });
    if (args.action === 'show') return show(loaded, json);
    return check(args.recipe, loaded, json);
  },
});

async function list(json: boolean): Promise<void> {
  const found = await Promise.all(
    (await presetNames()).map(async (name) => {
      const { recipe, text } = await loadRecipe(name);
      return {
        name,
        about: firstSentence(text),
        stages: recipe.stages.map(({ stage }) => stage),
        unverified: recipe.unverified,
      };
    }),
  );
  if (json) return console.log(JSON.stringify(found, null, 2));
  for (const { name, about, stages, unverified } of found) {
    console.log(`${name.padEnd(16)} ${stages.join(', ')}${unverified.length > 0 ? ' (some values unverified)' : ''}`);
    console.log(`${' '.repeat(17)}${about}`);
  }
}

/** What a recipe's opening comment says first. */
function firstSentence(text: string): string {
  const lines = text.split('\n');
  const comment = lines
    .slice(
      0,
      lines.findIndex((line) => !line.startsWith('#')),
    )
    .map((line) => line.slice(1).trim());
  return comment.join(' ').match(/^.*?\.(?= |$)/)?.[0] ?? '';
}

async function show({ recipe, hash, text }: LoadedRecipe, json: boolean): Promise<void> {
  if (json) return console.log(JSON.stringify({ recipe, hash }, null, 2));
  console.log(text.trimEnd());
  if (recipe.unverified.length > 0)
    console.log(`\nNot known from the publication, so guessed: ${recipe.unverified.join(', ')}`);
}

interface StageTable {
  stage: string;
  groups: { match: string | null; tensors: number; parameters: number; lr: number; weightDecay: number }[];
}

async function check(name: string, { recipe, recipeDir }: LoadedRecipe, json: boolean): Promise<void> {
  // A built-in text tower has as many words as the data's class names, which are not opened here.
  const networks = await openNetworks(recipe, recipeDir, []);
  const stages = recipe.stages.map((stage): StageTable => {
    const groups = parameterGroups(stage, trainableSpecs(stage, networks));
    return {
      stage: stage.stage,
      groups: groups.map(({ match, names, parameters, lr, weightDecay }) => ({
        match,
        tensors: names.length,
        parameters,
        lr,
        weightDecay,
      })),
    };
  });
  const sizes = sizesOf(networks);
  const data = await checkPictures(recipe, recipeDir, findHome().cacheDir);
  if (json)
    return console.log(
      JSON.stringify({ recipe: name, sizes, stages, unverified: recipe.unverified, ...(data && { data }) }, null, 2),
    );
  const rows = stages.flatMap(({ stage, groups }) =>
    groups.map(({ match, tensors, parameters, lr, weightDecay }) => [
      stage,
      match ?? 'all others',
      String(tensors),
      millions(parameters),
      lr.toExponential(1),
      String(weightDecay),
    ]),
  );
  console.log(`${name} can be trained.`);
  console.log(
    `Parameters: ${Object.entries(sizes)
      .map(([part, count]) => `${part} ${millions(count)}`)
      .join(', ')}\n`,
  );
  console.log(table(['stage', 'group', 'tensors', 'parameters', 'lr', 'weight decay'], rows));
  if (data) console.log(`\n${picturesText(data)}`);
}

function sizesOf(networks: Networks): Record<string, number> {
  const { encoder, connector, denoiser } = networks;
  const count = (specs: Record<string, { shape: number[] }>) =>
    Object.values(specs).reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  return {
    encoder: count(encoder.specs),
    connector: count(connector.specs),
    [denoiser.isFrozen ? 'frozen denoiser' : 'denoiser']: count(denoiser.specs),
    'in a checkpoint': count(modelSpecs(networks)),
  };
}

const millions = (count: number) => `${(count / 1e6).toFixed(count < 1e6 ? 3 : 1)} M`;
