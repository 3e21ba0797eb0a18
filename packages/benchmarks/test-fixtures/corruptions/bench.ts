// Milliseconds of processor time for each corruption and severity of a 224 × 224 picture, medians of RUNS (5), on one
// thread: node --import tsx bench.ts [RUNS] [NAME …].

import { CORRUPTIONS } from '../../src/corruptions/constants.ts';
import { corrupt } from '../../src/corruptions/index.ts';
import { drawn, SEVERITIES } from '../../src/corruptions/testing.ts';

const [runs = '5', ...names] = process.argv.slice(2);
const picture = drawn(224, 224);
const spent = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
let total = 0;
for (const name of names.length > 0 ? names : CORRUPTIONS) {
  for (let i = 0; i < 10; i++) corrupt(picture, { name, severity: 1 + (i % 5), seed: i });
  const medians = SEVERITIES.map((severity) => {
    const times = Array.from({ length: Number(runs) }, (_, seed) => {
      const before = spent();
      corrupt(picture, { name, severity, seed });
      return spent() - before;
    }).sort((a, b) => a - b);
    return times[times.length >> 1];
  });
  total += medians.reduce((a, b) => a + b, 0);
  console.log(name.padEnd(18), medians.map((ms) => ms.toFixed(1).padStart(6)).join(' '));
}
console.log('all'.padEnd(18), total.toFixed(0).padStart(6));
