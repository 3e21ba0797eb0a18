// What a finished run hands to the summary and the report: rounds with their metrics, scorecards, pictures. Plain data
// that the caller reads from the store; nothing here opens a file.

import type { RoundMetrics } from '@fovea/alignment';
import type { Recipe } from '@fovea/recipe';
import type { Scorecard } from './scorecard.ts';

/** One committed round. */
export interface RoundData {
  /** `trunk`, or the role whose branch it is. */
  track: string;
  round: number;
  stage: string;
  /** Place of the stage in the recipe, which tells two stages of one kind apart; −1 for `init`. */
  stageIndex?: number;
  /** Id of the checkpoint that it committed. */
  checkpoint: string;
  /** Optimiser steps since the start of the run, earlier stages included. */
  step: number;
  metrics: RoundMetrics;
}

/** Pictures in rows, one column per caption, such as original, before and after. */
export interface ReconstructionGrid {
  columns: string[];
  rows: { caption: string /** PNG data URIs, one per column. */; images: string[] }[];
  /** One sentence under the grid. */
  note?: string;
}

export interface Licence {
  name: string;
  licence: string;
  author?: string;
  /** What it was used for. */
  use?: string;
}

export interface RunData {
  run: string;
  recipe: Recipe;
  /** The recipe as it was written; the resolved one is printed when it is absent. */
  recipeText?: string;
  status: string;
  /** When the run was made, as it should be read. */
  createdAt?: string;
  rounds: RoundData[];
  /** Every scorecard with the round of its branch. */
  scorecards: { round: number; scorecard: Scorecard }[];
  reconstructions: ReconstructionGrid | null;
  licences: Licence[];
  /** Where the report lies, as the summary should say it. */
  report: string;
}

/** The trunk leads to the baseline, so its stages and checkpoints carry that role. */
export function roleOf(track: string): string {
  return track === 'trunk' ? 'baseline' : track;
}

export interface StageRun {
  name: string;
  role: string;
  rounds: RoundData[];
}

/** Rounds that trained, gathered by branch and stage in order; `init` trains nothing and is left out. */
export function stagesOf(rounds: readonly RoundData[]): StageRun[] {
  const ordered = [...rounds].sort((a, b) => order(a.track) - order(b.track) || a.round - b.round);
  const stages: StageRun[] = [];
  let previous: RoundData | undefined;
  for (const round of ordered) {
    if (round.metrics.steps === 0) continue;
    const goesOn =
      previous?.track === round.track && previous.stage === round.stage && previous.stageIndex === round.stageIndex;
    if (goesOn) stages[stages.length - 1].rounds.push(round);
    else stages.push({ name: round.stage, role: roleOf(round.track), rounds: [round] });
    previous = round;
  }
  return stages;
}

const TRACKS = ['trunk', 'aligned', 'control', 'placebo'];

function order(track: string): number {
  const at = TRACKS.indexOf(track);
  return at < 0 ? TRACKS.length : at;
}

/** The last scorecard of every role. */
export function finalScorecards(scorecards: RunData['scorecards']): Map<string, Scorecard> {
  const finals = new Map<string, { round: number; scorecard: Scorecard }>();
  for (const entry of scorecards) {
    const known = finals.get(entry.scorecard.role);
    if (!known || entry.round >= known.round) finals.set(entry.scorecard.role, entry);
  }
  const roles = ['baseline', ...TRACKS.slice(1)];
  const rank = (role: string) => (roles.includes(role) ? roles.indexOf(role) : roles.length);
  return new Map([...finals].sort(([a], [b]) => rank(a) - rank(b)).map(([role, entry]) => [role, entry.scorecard]));
}
