// What apps may use to let others watch: trackers of runs (TensorBoard, MLflow), Prometheus' metrics, and traces.

export * from './follow.ts';
export * from './metrics.ts';
export * from './mlflow.ts';
export * from './open.ts';
export * from './sinks.ts';
export * from './tensorboard.ts';
export * from './traces.ts';
export * from './tracker.ts';
