// `fovea eval`: the commands around benchmarks. Without one of their names it is `fovea eval run`.

import { type CommandDef, defineCommand } from 'citty';

// biome-ignore lint/suspicious/noExplicitAny: citty's commands differ in their arguments' types
type Load = () => Promise<CommandDef<any>>;

const subCommands: Record<string, Load> = {
  run: async () => (await import('./run.ts')).default,
  resume: async () => (await import('./resume.ts')).default,
  rescore: async () => (await import('./rescore.ts')).default,
  compare: async () => (await import('./compare.ts')).default,
  report: async () => (await import('./report.ts')).default,
  suites: async () => (await import('./suites.ts')).default,
  build: async () => (await import('./build.ts')).default,
};

export default defineCommand({
  meta: { name: 'eval', description: 'Benchmarks: ask, resume, judge again, compare, report, build suites' },
  default: 'run',
  subCommands,
});
