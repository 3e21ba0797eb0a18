// `fovea bench`: our compiled steps beside PyTorch, torch.compile, tfjs-node and JAX, on the same weights and batch,
// interleaved in one run. What is timed stands in ../bench/cases.ts, how in ../bench/measure.ts.

import { availableParallelism } from 'node:os';
import { FoveaError } from '@fovea/artifacts';
import { defineCommand } from 'citty';
import { wholeNumber } from '../arguments.ts';
import { measureBuild } from '../bench/build.ts';
import { CASES } from '../bench/cases.ts';
import { evaluationText, measureEvaluation } from '../bench/evaluation.ts';
import { type CaseResult, measureCase } from '../bench/measure.ts';
import { findPeers, PEERS } from '../bench/peers.ts';
import { buildText, caseText } from '../bench/report.ts';
import { findHome } from '../home.ts';

const PAIRS = { full: '20', quick: '3' };

export default defineCommand({
  meta: { name: 'bench', description: 'Time the compiled steps beside PyTorch, tfjs-node and JAX' },
  args: {
    case: { type: 'string', valueHint: 'A,B', description: `What to time, of ${CASES.join(', ')}; all by default` },
    peer: { type: 'string', valueHint: 'A,B', description: `Whom to time, of ${PEERS.join(', ')}; all by default` },
    threads: {
      type: 'string',
      default: String(Math.min(2, availableParallelism())),
      valueHint: 'N',
      description: 'Threads of each',
    },
    pairs: { type: 'string', valueHint: 'N', description: `Interleaved pairs of runs per peer (${PAIRS.full})` },
    quick: { type: 'boolean', description: `${PAIRS.quick} pairs: a look, not a measurement` },
    build: { type: 'boolean', description: 'Instead, build ViT-L/14-336 + SD 2.1 at full size and run one step' },
    eval: { type: 'boolean', description: 'Instead, evaluate the shipped encoder on every emoji suite' },
    json: { type: 'boolean', description: 'Print one JSON document' },
  },
  async run({ args }) {
    // `npm run bench --json` keeps the flag for itself and says so in the environment.
    const json = args.json ?? process.env.npm_config_json === 'true';
    const threads = wholeNumber('threads', args.threads, 1, 256);
    const say = (text: string) => process.stderr.isTTY && process.stderr.write(`\r\x1b[K${text}`);
    if (args.build) {
      const result = await measureBuild(threads, say);
      say('');
      console.log(json ? JSON.stringify({ threads, build: result }, null, 2) : buildText(result, threads));
      return;
    }
    if (args.eval) {
      const result = await measureEvaluation(findHome(), say);
      say('');
      console.log(json ? JSON.stringify({ evaluation: result }, null, 2) : evaluationText(result));
      return;
    }
    const pairs = wholeNumber('pairs', args.pairs ?? (args.quick ? PAIRS.quick : PAIRS.full), 1, 1000);
    const names = chosen('case', args.case, CASES);
    const wanted = chosen('peer', args.peer, PEERS);
    const found = await findPeers();
    const peers = Object.fromEntries(wanted.map((name) => [name, found[name]]));
    const cases: CaseResult[] = [];
    if (!json) console.log(`${threads} threads, ${pairs} interleaved pairs per peer`);
    for (const name of names) {
      const result = await measureCase(name, { threads, pairs, peers, say });
      say('');
      cases.push(result);
      if (!json) console.log(`\n${caseText(result)}`);
    }
    if (json) console.log(JSON.stringify({ threads, pairs, cases }, null, 2));
  },
});

/** Names from a flag's comma-separated text; all of them without it. */
function chosen<T extends string>(flag: string, text: string | undefined, names: readonly T[]): T[] {
  if (text === undefined) return [...names];
  const given = text.split(',').map((name) => name.trim());
  const unknown = given.find((name) => !names.includes(name as T));
  if (unknown !== undefined)
    throw new FoveaError(
      `The flag --${flag} takes some of ${names.join(', ')}, separated by commas, not "${unknown}".`,
    );
  return names.filter((name) => given.includes(name));
}
