// The command line: finds the command, checks its flags, runs it, and turns whatever goes wrong into one sentence and an
// exit code: 2 for what the user can mend, 1 for a fault of ours.

import { createRequire } from 'node:module';
import { stripVTControlCharacters } from 'node:util';
import { FoveaError, isUserError } from '@fovea/artifacts';
import { type ArgsDef, type CommandDef, renderUsage, runCommand } from 'citty';
import { checkArguments } from './arguments.ts';
import { standAtRoot } from './home.ts';

// biome-ignore lint/suspicious/noExplicitAny: citty's commands differ in their arguments' types
type Command = CommandDef<any>;

/** Every command, loaded when it is asked for. Adding one is a line here. */
const COMMANDS: Record<string, () => Promise<{ default: Command }>> = {
  train: () => import('./commands/train.ts'),
  submit: () => import('./commands/submit.ts'),
  sweep: () => import('./commands/sweep.ts'),
  coordinator: () => import('./commands/coordinator.ts'),
  worker: () => import('./commands/worker.ts'),
  workers: () => import('./commands/workers.ts'),
  token: () => import('./commands/token.ts'),
  runs: () => import('./commands/runs.ts'),
  eval: () => import('./commands/eval/index.ts'),
  compare: () => import('./commands/compare.ts'),
  export: () => import('./commands/export.ts'),
  recipe: () => import('./commands/recipe.ts'),
  store: () => import('./commands/store.ts'),
  bench: () => import('./commands/bench.ts'),
  doctor: () => import('./commands/doctor.ts'),
};

const HELP = ['--help', '-h'];

/** Runs one command line and leaves its exit code in the process. */
export async function main(rawArgs: string[]): Promise<void> {
  standAtRoot();
  try {
    await dispatch(rawArgs);
  } catch (error) {
    process.exitCode = explain(error, rawArgs.includes('--json'));
  }
}

async function dispatch(rawArgs: string[]): Promise<void> {
  const [name, ...rest] = rawArgs;
  if (name === undefined || HELP.includes(name) || name === 'help') return print(await renderUsage(await overview()));
  if (name === '--version') return print(version);
  if (!Object.hasOwn(COMMANDS, name)) {
    const names = Object.keys(COMMANDS).join(', ');
    throw new FoveaError(`"${name}" is no command of Fovea: there are ${names}; \`fovea --help\` says what they do.`);
  }
  const { default: group } = await COMMANDS[name]();
  const [command, title, given] = await within(group, name, rest);
  if (given.some((arg) => HELP.includes(arg)))
    return print(
      await renderUsage(command, { meta: { name: command === group ? 'fovea' : `fovea ${name}`, version } }),
    );
  const args = (await (typeof command.args === 'function' ? command.args() : command.args)) ?? ({} as ArgsDef);
  await runCommand(command, { rawArgs: checkArguments(title, given, args) });
}

/** The command of a group that is meant, its whole name, and what is left for it; a group without a name is its default. */
async function within(group: Command, name: string, rest: string[]): Promise<[Command, string, string[]]> {
  const inner = group.subCommands as Record<string, () => Promise<Command>> | undefined;
  if (inner === undefined || (rest.length === 1 && HELP.includes(rest[0]))) return [group, name, rest];
  const [first] = rest;
  if (first === undefined || first.startsWith('-')) return [await inner[group.default as string](), name, rest];
  if (Object.hasOwn(inner, first)) return [await inner[first](), `${name} ${first}`, rest.slice(1)];
  throw new FoveaError(`\`fovea ${name}\` knows ${Object.keys(inner).join(', ')}; it does not "${first}".`);
}

const { version } = createRequire(import.meta.url)('../package.json') as { version: string };

async function overview(): Promise<CommandDef> {
  const entries = Object.entries(COMMANDS).map(async ([name, load]) => [name, (await load()).default] as const);
  return {
    meta: {
      name: 'fovea',
      version,
      description: 'Better eyes for multimodal models: vision encoders aligned by diffusion feedback',
    },
    subCommands: Object.fromEntries(await Promise.all(entries)),
  };
}

function print(text: string): void {
  const plain = !process.stdout.isTTY || Boolean(process.env.NO_COLOR);
  console.log(plain ? stripVTControlCharacters(text) : text);
}

/** Says what went wrong, as JSON too where that was asked for, and returns the exit code. */
function explain(error: unknown, json: boolean): number {
  const user = isUserError(error);
  const message = error instanceof Error ? error.message : String(error);
  if (json) console.log(JSON.stringify({ status: 'failed', error: { message, user } }, null, 2));
  console.error(user || !(error instanceof Error) ? message : (error.stack ?? message));
  return user ? 2 : 1;
}
