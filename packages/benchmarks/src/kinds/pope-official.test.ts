// The official question files against the official scorer, on 1,000 answer files that test-fixtures/pope-official.py made
// up and judged by the rule of POPE's own script; the command that makes the fixture stands there.

import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { philox } from '@fovea/tensor/random';
import { describe, expect, it } from 'vitest';
import type { Judged } from '../judging/kind.ts';
import { type BinaryMetric, binaryMetrics, count, noCounts } from '../metrics/binary.ts';
import { type Item, itemSchema } from '../suite/item.ts';
import { YES_NO_SCORERS } from './answers/yes-no.ts';
import { pope } from './pope.ts';
import { popeItems } from './pope-questions.ts';
import { parsePopeFile } from './read-pope.ts';
import { asSuite } from './testing-yes-no.ts';

const at = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const DATA = at('../../../../../shared/data/pope');
const fixture = JSON.parse(readFileSync(at('../../test-fixtures/pope-official.json'), 'utf8')) as {
  columns: string[];
  shown: Record<string, (number | null)[]>;
  hashes: string;
};
const hashes = fixture.hashes.split(' ');
const missing = existsSync(DATA) ? null : 'there is no ../shared/data/pope';
if (missing) console.warn(`pope-official.test.ts is skipped: ${missing}.`);

const SPLITS = ['random', 'popular', 'adversarial'] as const;
const RIGHT = { yes: ['Yes', 'Yes, there is.', 'yes'], no: ['No', 'No, there is not.', 'no'] };
const ANY = [
  ...['Yes.', 'No.', 'NO', 'no\n', 'No!', "No; there isn't", "There isn't a dog.", 'The image does not show a dog.'],
  ...['Yes, there is no doubt a dog.', 'Yes. There is no cat though.', "I don't know", 'Not sure'],
  ...['A snowboard is visible', '', 'dog', '**Yes**', 'There is a person. No dog.', '是', 'not, really', 'It is. Not'],
  ...[' no', 'yes no', 'Nothing'],
];

/** What answer file `file` says to the questions of a split, in their order. */
function answersOf(file: number, split: number, gold: readonly ('yes' | 'no')[]): string[] {
  if (file < 2) return gold.map(() => (file === 0 ? 'Yes' : 'No'));
  const rng = philox(file, 'pope-answers', split);
  return gold.map((right) => {
    const word = rng.uint32();
    const pool = (word >>> 16) * hashes.length < file * 65536 ? RIGHT[right] : ANY;
    return pool[(word & 0xffff) % pool.length];
  });
}

const official = YES_NO_SCORERS.find(({ id }) => id === 'pope-official');

describe.skipIf(missing)('the official POPE files', () => {
  const files = SPLITS.map((name) => {
    const base = `coco_pope_${name}.json`;
    return parsePopeFile(base, missing ? '' : readFileSync(`${DATA}/${base}`, 'utf8'));
  });
});
