// Which trackers a process has, from its environment. A run is the same run whoever watches it, so none of this stands
// in its recipe or changes its hash.

import { MlflowTracker } from './mlflow.ts';
import { TensorBoardTracker } from './tensorboard.ts';
import type { Tracker } from './tracker.ts';

export interface TrackersConfig {
  /** Folder for TensorBoard's event files. @defaultValue FOVEA_TENSORBOARD, or none */
  tensorboard?: string;
  /** MLflow's server. @defaultValue MLFLOW_TRACKING_URI, or none */
  mlflow?: string;
  /** @defaultValue MLFLOW_EXPERIMENT_NAME, or `fovea/<recipe's name>` */
  experiment?: string;
}

/**
 * New trackers, for one run. Secrets come from the environment alone: MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME
 * and MLFLOW_TRACKING_PASSWORD. Throws a FoveaError for an address that is none.
 */
export function openTrackers(config: TrackersConfig, env: NodeJS.ProcessEnv = process.env): Tracker[] {
  const folder = config.tensorboard || env.FOVEA_TENSORBOARD;
  const uri = config.mlflow || env.MLFLOW_TRACKING_URI;
  const trackers: Tracker[] = [];
  if (folder) trackers.push(new TensorBoardTracker(folder));
  if (uri) {
    trackers.push(
      new MlflowTracker({
        uri,
        experiment: config.experiment || env.MLFLOW_EXPERIMENT_NAME || undefined,
        token: env.MLFLOW_TRACKING_TOKEN || undefined,
        username: env.MLFLOW_TRACKING_USERNAME || undefined,
        password: env.MLFLOW_TRACKING_PASSWORD,
      }),
    );
  }
  return trackers;
}
