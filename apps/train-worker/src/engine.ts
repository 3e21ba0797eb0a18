// The train engine: the child process that computes rounds and merges their shards. It knows no queue; requests come
// from its worker.

import { openData, type RecipeData, Trainer } from '@fovea/alignment';
import { openStore, type Store } from '@fovea/artifacts';
import { type EngineContext, type MergeRequest, serveEngine, type TrainRequest } from '@fovea/jobs';
import { checkSources, type Recipe } from '@fovea/recipe';
import { startTracing, withSpan } from '@fovea/trackers/traces';

let open: { root: string; store: Store; trainer: Trainer } | null = null;
let data: { key: string; dataset: Promise<RecipeData> } | null = null;

/** Keeps the last data set: its listing and sprites are the same for every round of a run. */
function datasetOf(recipe: Recipe, recipeDir: string, cacheDir: string): Promise<RecipeData> {
  const key = JSON.stringify([recipe.data, recipe.encoder, recipe.seed, recipeDir, cacheDir]);
  if (data?.key !== key) data = { key, dataset: openData(recipe, { recipeDir, cacheDir }) };
  return data.dataset;
}

const tracing = startTracing({ serviceName: 'fovea-train-engine', say: (text) => console.error(text) });

serveEngine<TrainRequest | MergeRequest>(async (request, context) => {
  await tracing;
  return withSpan(`engine ${request.kind}`, context.trace, {}, () => compute(request, context));
});

async function compute(
  { storeRoot, cacheDir, sources, ...request }: TrainRequest | MergeRequest,
  { progress, signal }: EngineContext,
): Promise<unknown> {
  await checkSources({ ...request, sources }, { cacheDir, hasBegun: request.base !== null });
  if (open?.root !== storeRoot) {
    await open?.trainer.dispose();
    const store = await openStore(storeRoot);
    open = {
      root: storeRoot,
      store,
      trainer: new Trainer({ store, openDataset: (recipe, dir) => datasetOf(recipe, dir, cacheDir) }),
    };
  }
  const { trainer } = open;
  return request.kind === 'merge' ? trainer.merge(request, progress) : trainer.train(request, progress, signal);
}
