// The end of the report: pictures under the condition before and after, the recipe as text, and whose work was used.

import type { Licence, ReconstructionGrid, RunData } from '../run-data.ts';
import { esc, type Html } from './html.ts';

const PNG = /^data:image\/png;base64,[A-Za-z0-9+/]+={0,2}$/;

/** The grid that the caller drew; anything but a PNG data URI is refused, so that the page can never load from elsewhere. */
export function reconstructionsSection(grid: ReconstructionGrid | null): Html {
  if (grid === null || grid.rows.length === 0) return '<p class="quiet">This run made no reconstructions.</p>';
  for (const row of grid.rows) {
    if (row.images.length !== grid.columns.length)
      throw new Error(`Reconstruction row has ${row.images.length} images for ${grid.columns.length} columns.`);
    if (!row.images.every((uri) => PNG.test(uri))) throw new Error('A reconstruction is not a base64 PNG data URI.');
  }
  const captions = grid.rows.map((row) => `<th scope="col">${esc(row.caption)}</th>`).join('');
  const lines = grid.columns.map((name, column) => {
    const images = grid.rows.map(
      (row) => `<td><img src="${row.images[column]}" alt="${esc(`${name}: ${row.caption}`)}"></td>`,
    );
    return `<tr><th scope="row">${esc(name)}</th>${images.join('')}</tr>`;
  });
  const note = grid.note ? `<p class="quiet">${esc(grid.note)}</p>` : '';
  return `<div class="scroll"><table class="grid-pictures"><thead><tr><td></td>${captions}</tr></thead><tbody>${lines.join('')}</tbody></table></div>${note}`;
}

export function recipeSection(data: RunData): Html {
  const written = data.recipeText
    ? `<details><summary>As it was written</summary><pre>${esc(data.recipeText.trimEnd())}</pre></details>`
    : '';
  return `<p class="quiet">With every default filled in.</p><pre class="recipe">${esc(yamlText(data.recipe))}</pre>${written}`;
}

/** Plain YAML of a JSON value: enough for a recipe, which holds no multi-line text. */
export function yamlText(value: unknown, indent = ''): string {
  if (!isBranch(value)) return scalar(value);
  const lines = Array.isArray(value)
    ? value.map((item) => `${indent}- ${yamlText(item, `${indent}  `).trimStart()}`)
    : Object.entries(value).map(([key, item]) => {
        const name = /^[A-Za-z][A-Za-z0-9_-]*$/.test(key) ? key : JSON.stringify(key);
        return isBranch(item)
          ? `${indent}${name}:\n${yamlText(item, `${indent}  `)}`
          : `${indent}${name}: ${scalar(item)}`;
      });
  return lines.join('\n');
}

/** Objects and lists that need lines of their own; lists of scalars stay on one. */
function isBranch(value: unknown): value is object {
  if (Array.isArray(value)) return value.some((item) => typeof item === 'object' && item !== null);
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0;
}

function scalar(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(scalar).join(', ')}]`;
  if (typeof value === 'string') {
    const plain = /^[A-Za-z][A-Za-z0-9_./-]*$/.test(value) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(value);
    return plain ? value : JSON.stringify(value);
  }
  return JSON.stringify(value) ?? 'null';
}

export function licencesSection(licences: readonly Licence[]): Html {
  if (licences.length === 0) return '<p class="quiet">No third-party pictures were used.</p>';
  const rows = licences.map(
    ({ name, author, licence, use }) =>
      `<tr><th scope="row">${esc(name)}</th><td>${esc(author ?? '')}</td><td>${esc(licence)}</td><td>${esc(use ?? '')}</td></tr>`,
  );
  return `<div class="scroll"><table><thead><tr><th>Set</th><th>Author</th><th>Licence</th><th>Used for</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
}
