export * from './arguments.ts';
export * from './home.ts';
