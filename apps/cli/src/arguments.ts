// Checks a command line against a command's own definition before citty parses it, because citty takes an unknown flag
// for a positional argument or for nothing. Every fault is one sentence.

import { FoveaError } from '@fovea/artifacts';
import type { ArgDef, ArgsDef } from 'citty';

/** A string flag that may stand alone, such as `--resume`, and then has the value '', or be given several times. */
export type FlagDef = ArgDef & { optionalValue?: boolean; multiple?: boolean };

/** The same arguments with optional values made explicit. Throws a FoveaError for what the command does not know. */
export function checkArguments(command: string, rawArgs: readonly string[], args: ArgsDef): string[] {
  const out: string[] = [];
  const several = new Map<string, string[]>();
  const places = Object.entries(args).filter(([, def]) => def.type === 'positional');
  let positionals = places.length;
  for (let i = 0; i < rawArgs.length; i++) {
    const token = rawArgs[i];
    if (!token.startsWith('-') || token === '-') {
      if (positionals-- <= 0)
        throw new FoveaError(`\`fovea ${command}\` takes no argument "${token}"; ${known(command, args)}.`);
      out.push(token);
      continue;
    }
    const [flag, inline] = split(token);
    const [name, def] = find(flag, args);
    if (!def) throw new FoveaError(`\`fovea ${command}\` has no flag ${flag}; ${known(command, args)}.`);
    if (def.type === 'boolean') {
      if (inline !== undefined)
        throw new FoveaError(`The flag ${flag} of \`fovea ${command}\` takes no value; leave "=${inline}" out.`);
      out.push(flag.startsWith('--no-') ? `--no-${name}` : `--${name}`);
      continue;
    }
    const next = rawArgs[i + 1];
    const value = inline ?? (next !== undefined && !next.startsWith('-') ? rawArgs[++i] : undefined);
    if (!value && !(def as FlagDef).optionalValue)
      throw new FoveaError(`The flag ${flag} of \`fovea ${command}\` needs a value: ${flag} ${hint(name, def)}.`);
    if ((def as FlagDef).multiple) several.set(name, [...(several.get(name) ?? []), value ?? '']);
    else out.push(`--${name}=${value ?? ''}`);
  }
  const missing = places
    .slice(places.length - positionals)
    .find(([, { required, default: own }]) => required && own === undefined);
  if (missing) {
    const [name, { description }] = missing;
    throw new FoveaError(
      `\`fovea ${command}\` needs ${name.toUpperCase()}${description ? `: ${description.charAt(0).toLowerCase()}${description.slice(1)}` : ''}.`,
    );
  }
  return [...out, ...[...several].map(([name, values]) => `--${name}=${values.join(BETWEEN)}`)];
}

/** A whole number within bounds from a flag's text. */
export function wholeNumber(flag: string, text: string, min: number, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new FoveaError(`The flag --${flag} takes a whole number from ${min} to ${max}, not "${text}".`);
}

/** ISO time of a deadline given as hours from now (`36`, `1.5h`) or as a time that JavaScript reads. */
export function deadlineOf(text: string, now: Date): string {
  const hours = /^(\d+(?:\.\d+)?)h?$/.exec(text)?.[1];
  const at = hours === undefined ? new Date(text) : new Date(now.getTime() + Number(hours) * 3_600_000);
  if (!Number.isNaN(at.getTime()) && at > now) return at.toISOString();
  throw new FoveaError(
    `The flag --deadline takes hours from now, such as 36, or a time to come, such as 2027-01-31T18:00; not "${text}".`,
  );
}

/** citty keeps one value of a flag, so several are one text. */
const BETWEEN = '\n';

/** The values of a flag that may be given several times. */
export const listOf = (given: string | undefined): string[] => given?.split(BETWEEN) ?? [];

function split(token: string): [string, string | undefined] {
  const at = token.indexOf('=');
  return at < 0 ? [token, undefined] : [token.slice(0, at), token.slice(at + 1)];
}

function find(flag: string, args: ArgsDef): [string, ArgDef | undefined] {
  const bare = flag.replace(/^--?(no-)?/, '');
  for (const [name, def] of Object.entries(args)) {
    if (def.type === 'positional') continue;
    const aliases = [(def as { alias?: string | string[] }).alias ?? []].flat();
    const matches = flag.startsWith('--')
      ? bare === name || flag === `--${name}`
      : flag.startsWith('-') && aliases.includes(bare);
    if (matches && (def.type === 'boolean' || !flag.startsWith('--no-') || flag === `--${name}`)) return [name, def];
  }
  return [bare, undefined];
}

function known(command: string, args: ArgsDef): string {
  const flags = Object.entries(args)
    .filter(([, def]) => def.type !== 'positional')
    .map(([name]) => `--${name}`);
  return flags.length > 0 ? `it knows ${flags.join(', ')}` : `see \`fovea ${command} --help\``;
}

function hint(name: string, def: ArgDef): string {
  return `<${(def as { valueHint?: string }).valueHint ?? name}>`;
}
