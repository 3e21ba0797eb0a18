// BullMQ, loaded when it is first needed and by require: an import would send each of its 180 files through tsx's hooks,
// which takes 0.4 s more, and the CLI and the engines have no use for it at all.

import { createRequire } from 'node:module';

export const bullmq = (): typeof import('bullmq') => createRequire(import.meta.url)('bullmq');
