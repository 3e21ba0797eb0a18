// What an option of a builder may be, read off its schema: the names to offer to somebody who mistyped one.

import { z } from 'zod';

interface Node {
  properties?: Record<string, Node>;
  anyOf?: Node[];
  oneOf?: Node[];
  allOf?: Node[];
  enum?: unknown[];
  const?: unknown;
}

/** Names of the fields at a place of a schema, each with its values where these are few; empty where none are known. */
export function knownOptions(schema: z.ZodType, at: readonly PropertyKey[]): string[] {
  const root = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Node;
  let nodes = variants(root);
  for (const key of at) {
    const inside = nodes.flatMap(({ properties = {} }) => properties[String(key)] ?? []).flatMap(variants);
    if (inside.every(({ properties }) => properties === undefined)) break;
    nodes = inside;
  }
  const values = new Map<string, Set<unknown>>();
  for (const { properties = {} } of nodes)
    for (const [name, node] of Object.entries(properties))
      values.set(name, new Set([...(values.get(name) ?? []), ...variants(node).flatMap(valuesOf)]));
  return [...values].map(([name, own]) => (own.size > 0 ? `${name} (${[...own].join('|')})` : name));
}

const variants = (node: Node): Node[] => [
  node,
  ...[...(node.anyOf ?? []), ...(node.oneOf ?? []), ...(node.allOf ?? [])].flatMap(variants),
];

const valuesOf = (node: Node): unknown[] => node.enum ?? ('const' in node ? [node.const] : []);
