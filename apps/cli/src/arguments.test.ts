import { FoveaError } from '@fovea/artifacts';
import { expect, test } from 'vitest';
import { checkArguments, wholeNumber } from './arguments.ts';

const args = {
  recipe: { type: 'string', valueHint: 'name|file' },
  resume: { type: 'string', optionalValue: true },
  'from-scratch': { type: 'boolean' },
  json: { type: 'boolean', alias: 'j' },
} as const;
const check = (...raw: string[]) => checkArguments('train', raw, args);

test('values are bound to their flags, and a flag whose value is optional may stand alone', () => {
  expect(check('--recipe', 'smoke', '--from-scratch', '-j')).toEqual(['--recipe=smoke', '--from-scratch', '--json']);
  expect(check('--recipe=a=b', '--no-json')).toEqual(['--recipe=a=b', '--no-json']);
  expect(check('--resume')).toEqual(['--resume=']);
  expect(check('--resume', '--json')).toEqual(['--resume=', '--json']);
  expect(check('--resume', 'emoji-1')).toEqual(['--resume=emoji-1']);
});

test.each([
  [['--foo'], '`fovea train` has no flag --foo; it knows --recipe, --resume, --from-scratch, --json.'],
  [['-x'], '`fovea train` has no flag -x; it knows --recipe, --resume, --from-scratch, --json.'],
  [['--Recipe', 'x'], '`fovea train` has no flag --Recipe; it knows --recipe, --resume, --from-scratch, --json.'],
  [['--no-recipe'], '`fovea train` has no flag --no-recipe; it knows --recipe, --resume, --from-scratch, --json.'],
  [['smoke'], '`fovea train` takes no argument "smoke"; it knows --recipe, --resume, --from-scratch, --json.'],
  [['--recipe'], 'The flag --recipe of `fovea train` needs a value: --recipe <name|file>.'],
  [['--recipe', '--json'], 'The flag --recipe of `fovea train` needs a value: --recipe <name|file>.'],
  [['--recipe='], 'The flag --recipe of `fovea train` needs a value: --recipe <name|file>.'],
  [['--json=yes'], 'The flag --json of `fovea train` takes no value; leave "=yes" out.'],
  [['--', 'x'], '`fovea train` has no flag --; it knows --recipe, --resume, --from-scratch, --json.'],
])('%j is refused in one sentence', (raw, sentence) => {
  expect(() => check(...raw)).toThrow(new FoveaError(sentence));
});

test('as many positional arguments as there are', () => {
  const eval_ = { checkpoint: { type: 'positional', description: '' } } as const;
  expect(checkArguments('eval', ['abc'], eval_)).toEqual(['abc']);
  expect(() => checkArguments('eval', ['abc', 'def'], eval_)).toThrow(/takes no argument "def"/);
});

test('a place that must be filled is asked for', () => {
  const report = { folder: { type: 'positional', required: true, description: 'Folder of the evaluation' } } as const;
  expect(() => checkArguments('eval report', [], report)).toThrow(
    new FoveaError('`fovea eval report` needs FOLDER: folder of the evaluation.'),
  );
  expect(checkArguments('eval report', ['x'], report)).toEqual(['x']);
});

test.each([['-1'], ['1.5'], ['x'], [''], ['1e3'], ['4294967296']])('%j is no seed', (text) => {
  expect(() => wholeNumber('seed', text, 0, 2 ** 32 - 1)).toThrow(/--seed takes a whole number from 0 to 4294967295/);
});

test('a whole number', () => {
  expect(wholeNumber('seed', '4294967295', 0, 2 ** 32 - 1)).toBe(4294967295);
});
