// The key of an evaluation: a hash of everything that its answers depend on. Weights that were written over, an option of
// decoding that changed or a picture that was exchanged make another key, and answers under another key are never reused.

import { canonicalJson, sha256Hex } from '@fovea/artifacts';
import type { Subject } from '../subjects/subject.ts';
import type { Suite } from '../suite/suite.ts';
import { manifestHash } from '../suite/suite-of.ts';

/** Rises whenever the same subject would be asked in another way. */
export const ENGINE_VERSION = 'fovea-judging-1';

/** What is hashed; kept beside the key, so that two keys can be told apart by what differs. */
export interface KeyParts {
  engine: string;
  subject: { kind: Subject['kind']; identity: Record<string, unknown> };
  /** SHA-256 of the manifest, which holds those of items, and these those of pictures. */
  suite: string;
  prompt: { id: string; template: string };
  textTemplate: string;
}

export function keyParts(subject: Pick<Subject, 'kind' | 'identity'>, suite: Pick<Suite, 'manifest'>): KeyParts {
  const { prompt, textTemplate } = suite.manifest;
  return {
    engine: ENGINE_VERSION,
    subject: { kind: subject.kind, identity: subject.identity },
    suite: manifestHash(suite.manifest),
    prompt,
    textTemplate,
  };
}

/** SHA-256 of the parts. Throws TypeError where an identity holds what JSON cannot. */
export const runKey = (parts: KeyParts): string => sha256Hex(canonicalJson(parts));

/** Dotted names of the fields in which two parts differ, sorted. */
export function differences(a: unknown, b: unknown, at = ''): string[] {
  if (canonicalJson(a ?? null) === canonicalJson(b ?? null)) return [];
  const isGroup = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isGroup(a) || !isGroup(b)) return [at];
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const keys = [...new Set([...Object.keys(left), ...Object.keys(right)])].sort();
  return keys.flatMap((key) => differences(left[key], right[key], at === '' ? key : `${at}.${key}`));
}
