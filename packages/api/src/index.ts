// The HTTP API of a fleet: what the coordinator gives it to ask (ApiBackend), who may call (tokens), and the server.

export * from './auth.ts';
export * from './backend.ts';
export * from './errors.ts';
export * from './events.ts';
export * from './fleet-backend.ts';
export * from './recipes.ts';
export * from './serve.ts';
export * from './server.ts';
export * from './store-backend.ts';
