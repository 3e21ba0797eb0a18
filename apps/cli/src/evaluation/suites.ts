// Suites from what the command line names: folders of the user's, and the emoji twins that are drawn on the spot in the
// world of the checkpoint's recipe, or in the default one.

import { access } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import { ALL_TWINS, emojiTwins, limited, readSuite, type Suite, Twins } from '@fovea/benchmarks/judging';
import type { Recipe } from '@fovea/recipe';
import type { Home } from '../home.ts';
import type { EvalRequest } from './request.ts';

export const twinNames = (): string[] => Object.keys(emojiTwins);

/** `data`: of the checkpoint's recipe; null for the default world. */
export async function openSuites(
  home: Home,
  { suites, images, limit, seed }: Pick<EvalRequest, 'suites' | 'images' | 'limit' | 'seed'>,
  data: Recipe['data'] | null,
): Promise<Suite[]> {
  const opened: Suite[] = [];
  let twins: Twins | null = null;
  try {
    for (const name of suites) {
      if (name in emojiTwins) twins ??= await Twins.open(home.cacheDir, data);
      const suite =
        name in emojiTwins ? await twins!.build(name) : await readSuite(name, { images: images ?? undefined });
      opened.push(limit === null ? suite : limited(suite, limit, seed));
    }
  } finally {
    await twins?.close();
  }
  return opened;
}

/** Names of twins as they are, folders as absolute paths. Throws a FoveaError for what is neither. */
export async function nameSuites(text: string, fromUser: (given: string) => string): Promise<string[]> {
  const given = text.split(',').map((name) => name.trim());
  const named: string[] = [];
  for (const name of given.flatMap((each) => (each === ALL_TWINS ? twinNames() : [each]))) {
    const folder = fromUser(name);
    const isFolder = await access(path.join(folder, 'suite.json')).then(
      () => true,
      () => false,
    );
    if (!isFolder && !Object.hasOwn(emojiTwins, name))
      throw new FoveaError(
        `There is no suite "${name}": no folder with a suite.json, and no built-in one; those are ${twinNames().join(', ')}.`,
      );
    named.push(isFolder ? folder : name);
  }
  return named;
}
