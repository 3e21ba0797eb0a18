// What apps may use of the queue: its schemas, the records of runs, the engine process, Redis, and the hosts of workers.

export * from './bullmq.ts';
export * from './commit.ts';
export * from './connection.ts';
export * from './control.ts';
export * from './engine-child.ts';
export * from './engine-process.ts';
export * from './events.ts';
export * from './fault.ts';
export * from './fleet.ts';
export * from './job-book.ts';
export * from './lifecycle.ts';
export * from './placement.ts';
export * from './queues.ts';
export * from './recover.ts';
export * from './redis.ts';
export * from './redis-server.ts';
export * from './retention.ts';
export * from './runs.ts';
export * from './schemas.ts';
export * from './sweeps.ts';
export * from './worker-host.ts';
export * from './workers.ts';
