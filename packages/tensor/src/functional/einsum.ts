// Einstein summation with gradients (tf.einsum has none): each pair of operands is brought to one batched matrix product.

import { TensorError } from '../errors.ts';
import type { Tensor } from '../tf.ts';
import tf from '../tf.ts';

interface Term {
  labels: string[];
  x: Tensor;
}

const sizeAlong = ({ labels, x }: Term, label: string): number => x.shape[labels.indexOf(label)] as number;

/** Sums over the labels that are not kept. */
function reduce(term: Term, keep: Set<string>): Term {
  const gone = term.labels.map((_, i) => i).filter((i) => !keep.has(term.labels[i]));
  if (gone.length === 0) return term;
  return { labels: term.labels.filter((label) => keep.has(label)), x: tf.sum(term.x, gone) };
}

/** Orders a term's axes as the groups say and joins each group into one axis. */
function grouped(term: Term, groups: string[][]): Tensor {
  const order = groups.flat().map((label) => term.labels.indexOf(label));
  const sizes = groups.map((group) => group.reduce((size, label) => size * sizeAlong(term, label), 1));
  return tf.reshape(tf.transpose(term.x, order), sizes);
}

function contract(a: Term, b: Term, kept: Set<string>): Term {
  const here = (labels: string[]) => new Set([...labels, ...kept]);
  const [left, right] = [reduce(a, here(b.labels)), reduce(b, here(a.labels))];
  const shared = left.labels.filter((label) => right.labels.includes(label));
  const batch = shared.filter((label) => kept.has(label));
  const inner = shared.filter((label) => !kept.has(label));
  const [rows, columns] = [left, right].map(({ labels }) => labels.filter((label) => !shared.includes(label)));
  const product = tf.matMul(
    grouped(left, [batch, rows, inner]) as never,
    grouped(right, [batch, columns, inner]) as never,
    false,
    true,
  );
  const labels = [...batch, ...rows, ...columns];
  const size = (label: string) => sizeAlong(left.labels.includes(label) ? left : right, label);
  return { labels, x: tf.reshape(product, labels.map(size)) };
}

/**
 * Sum of products by labelled axes, as torch.einsum: `einsum('bhqd,bhkd->bhqk', q, k)`. Any number of operands; without an
 * arrow the labels that occur once are kept, in alphabetical order. Throws a {@link TensorError} on an ellipsis, on a label
 * that one operand repeats, and on labels that do not fit the shapes.
 */
export function einsum(equation: string, ...operands: Tensor[]): Tensor {
  const [left, right] = equation.replace(/\s/g, '').split('->');
  const terms = left.split(',').map((labels, i): Term => ({ labels: [...labels], x: operands[i] }));
  const fail = (why: string): never => {
    const shapes = operands.map((x) => `[${x.shape}]`).join(', ');
    throw new TensorError(`einsum "${equation}" of ${shapes}: ${why}; mend the equation.`);
  };
  if (terms.length !== operands.length) fail(`it names ${terms.length} operands, not ${operands.length}`);
  const sizes = new Map<string, number>();
  for (const { labels, x } of terms) {
    if (labels.includes('.')) fail('an ellipsis is not supported');
    if (new Set(labels).size !== labels.length) fail('an operand repeats a label');
    if (labels.length !== x.rank) fail(`"${labels.join('')}" does not label ${x.rank} axes`);
    for (const [i, label] of labels.entries()) {
      const size = x.shape[i] as number;
      if ((sizes.get(label) ?? size) !== size) fail(`"${label}" is both ${sizes.get(label)} and ${size}`);
      sizes.set(label, size);
    }
  }
  const all = [...left.replace(/,/g, '')];
  const result = [
    ...(right ??
      all
        .filter((label) => all.indexOf(label) === all.lastIndexOf(label))
        .sort()
        .join('')),
  ];
  if (result.some((label) => !sizes.has(label))) fail('the result has a label that no operand has');
  const total = terms.slice(1).reduce((sum, term, i) => {
    const later = terms.slice(i + 2).flatMap(({ labels }) => labels);
    return contract(sum, term, new Set([...result, ...later]));
  }, terms[0]);
  return grouped(
    reduce(total, new Set(result)),
    result.map((label) => [label]),
  );
}
