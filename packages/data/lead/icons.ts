// Reads the nine emoji sets from their npm packages: which icon draws a concept in a style, as SVG text.

import { createRequire } from 'node:module';

export const STYLES = [
  'noto',
  'twemoji',
  'fluent-emoji-flat',
  'emojione',
  'noto-v1',
  'fxemoji',
  'openmoji',
  'emojione-monotone',
  'fluent-emoji-high-contrast',
] as const;

/** Ink of the sets that are drawn in one colour. */
const INK = '#222222';

export interface EmojiLicence {
  style: string;
  package: string;
  version: string;
  title: string;
  author: string;
  licence: string;
}

interface IconSet {
  icons: Record<string, { body: string; width?: number; height?: number; left?: number; top?: number }>;
  aliases?: Record<string, { parent: string }>;
  width?: number;
  height?: number;
  left?: number;
  top?: number;
}

const require = createRequire(import.meta.url);
const loaded = new Map<string, { set: IconSet; squashed: Map<string, string> }>();

const squash = (slug: string) => slug.replaceAll('-', '');

/** Slug of an emojibase label, as the icon sets spell it: "soft ice cream" -> "soft-ice-cream". */
export const slugOf = (label: string): string =>
  label
    .toLowerCase()
    .normalize('NFKD')
    .replace(/[\u0300-\u036f]/g, '')
    .replace(/[’'“”.!():,]/g, '')
    .replaceAll('&', 'and')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');

function load(style: string) {
  let entry = loaded.get(style);
  if (!entry) {
    const set = require(`@iconify-json/${style}/icons.json`) as IconSet;
    const keys = [...Object.keys(set.aliases ?? {}), ...Object.keys(set.icons)];
    entry = { set, squashed: new Map(keys.map((key) => [squash(key), key])) };
    loaded.set(style, entry);
  }
  return entry;
}

/** The SVG of a concept in a style at `side` pixels, or null where the set does not draw it. */
export function iconSvg(style: string, label: string, side: number): string | null {
  const { set, squashed } = load(style);
  const slug = slugOf(label);
  let key = slug in set.icons || slug in (set.aliases ?? {}) ? slug : (squashed.get(squash(slug)) ?? slug);
  for (let hops = 0; set.aliases?.[key] && hops < 5; hops++) key = set.aliases[key].parent;
  const icon = set.icons[key];
  if (!icon) return null;
  const width = icon.width ?? set.width ?? 16;
  const height = icon.height ?? set.height ?? 16;
  const body = icon.body.replaceAll('currentColor', INK);
  return `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="${icon.left ?? set.left ?? 0} ${icon.top ?? set.top ?? 0} ${width} ${height}" width="${side}" height="${side}" color="${INK}">${body}</svg>`;
}

/** Group (food-drink, objects, …) and code points of a label in emojibase. */
export function emojibaseEntry(label: string): { group: string; hexcode: string } | null {
  const data = require('emojibase-data/en/data.json') as { label: string; hexcode: string; group?: number }[];
  const { groups } = require('emojibase-data/meta/groups.json') as { groups: Record<string, string> };
  const entry = data.find((item) => item.label.toLowerCase() === label);
  return entry ? { group: groups[String(entry.group)], hexcode: entry.hexcode } : null;
}

/** Package, author and licence of each set, for the README and every report. */
export function emojiLicences(): EmojiLicence[] {
  return STYLES.map((style) => {
    const info = require(`@iconify-json/${style}/info.json`) as {
      name: string;
      author: { name: string };
      license: { spdx: string };
    };
    const { version } = require(`@iconify-json/${style}/package.json`) as { version: string };
    return {
      style,
      package: `@iconify-json/${style}`,
      version,
      title: info.name,
      author: info.author.name,
      licence: info.license.spdx,
    };
  });
}

/** What a cache of rasters depends on: set versions and the drawing rules above. */
export const iconsKey = (styles: readonly string[]): string =>
  styles
    .map((style) => `${style}@${(require(`@iconify-json/${style}/package.json`) as { version: string }).version}`)
    .join(' ') + ' v1';
