// `fovea submit RECIPE`: hands a run to a fleet and returns at once; its coordinator and workers do the rest.

import { DEFAULT_PRIORITY, MAX_PRIORITY, submitRun } from '@fovea/jobs';
import { type ArgsDef, defineCommand } from 'citty';
import { deadlineOf, listOf, wholeNumber } from '../arguments.ts';
import { describeRun } from '../describe-run.ts';
import { withFleet } from '../fleet.ts';
import { findHome } from '../home.ts';

const args = {
  recipe: { type: 'positional', required: true, valueHint: 'name|file', description: 'A preset, or a recipe file' },
  set: {
    type: 'string',
    multiple: true,
    valueHint: 'field=value',
    description: 'Set one field of the recipe; may be given several times',
  },
  seed: { type: 'string', valueHint: 'number', description: "Seed of the run, in place of the recipe's" },
  name: { type: 'string', valueHint: 'name', description: "Name of the run, in place of the recipe's" },
  priority: {
    type: 'string',
    valueHint: 'number',
    description: `1 to ${MAX_PRIORITY}, lower goes first (${DEFAULT_PRIORITY})`,
  },
  deadline: { type: 'string', valueHint: 'hours|time', description: 'When the run must have ended, or it fails' },
  json: { type: 'boolean', description: 'Print one JSON document' },
} satisfies ArgsDef & Record<string, { multiple?: boolean }>;

export default defineCommand({
  meta: { name: 'submit', description: 'Hand a run to a fleet of workers' },
  args,
  async run({ args }) {
    const home = findHome();
    const wish = {
      recipe: args.recipe,
      set: listOf(args.set),
      seed: args.seed === undefined ? undefined : wholeNumber('seed', args.seed, 0, 2 ** 32 - 1),
      name: args.name,
    };
    const priority = args.priority === undefined ? undefined : wholeNumber('priority', args.priority, 1, MAX_PRIORITY);
    const deadline = args.deadline === undefined ? null : deadlineOf(args.deadline, new Date());
    const about = await describeRun(home, wish, (text) => console.error(text));
    const run = await withFleet(home, (fleet) => submitRun(fleet, { ...about, priority, deadline }, new Date()));
    console.log(args.json ? JSON.stringify({ run: run.id }, null, 2) : run.id);
  },
});
