// The report of a run: one HTML page that needs nothing but itself. No script, no font, no address is loaded, and a
// content policy in the page says so to the browser. Sections are in report/.

import { compareRoles } from './compare.ts';
import { licencesSection, recipeSection, reconstructionsSection } from './report/back.ts';
import { benchmarksSection } from './report/benchmarks.ts';
import { comparisonsSection } from './report/comparisons.ts';
import { cards, header, howToRead, inShort, stops } from './report/front.ts';
import { page, ROLE_NOTES, section } from './report/html.ts';
import { rolesTable, scoresSection, trajectoriesSection } from './report/scores.ts';
import { STYLE } from './report/style.ts';
import { trainingSection } from './report/training.ts';
import { finalScorecards, type RunData } from './run-data.ts';

/** The whole page. Deterministic: the same data give the same bytes. Throws when a picture is not a PNG data URI. */
export function renderReport(data: RunData): string {
  const finals = finalScorecards(data.scorecards);
  const comparisons = compareRoles(finals);
  const benchmarks = benchmarksSection(finals);
  const moved = trajectoriesSection(data.scorecards);
  const body = [
    header(data),
    inShort(comparisons),
    stops(data),
    cards(data, finals, comparisons),
    howToRead(data, finals),
    section('Roles', rolesTable(finals, data, ROLE_NOTES)),
    section('Differences between roles', comparisonsSection(comparisons)),
    section('Scorecards', scoresSection(finals)),
    benchmarks === '' ? '' : section('Benchmarks', benchmarks),
    moved === '' ? '' : section('Scores over the rounds', moved),
    section('Pictures from the condition', reconstructionsSection(data.reconstructions)),
    section('Training', trainingSection(data)),
    section('Recipe', recipeSection(data)),
    section('Licences', licencesSection(data.licences)),
  ];
  const source = 'the scorecards in the run’s store';
  return page({ title: `${data.run} · Fovea`, style: STYLE, body, source });
}
