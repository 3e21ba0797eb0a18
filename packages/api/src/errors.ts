// Errors as the API gives them: a status and {error: sentence}, never a stack. Bad input is 4xx whatever shape it has;
// a store or a Redis that does not answer is 503; only a fault of ours is 500, and then its text stays in the log.

import { FoveaError, isUserError } from '@fovea/artifacts';
import { isDiskFullReply } from '@fovea/jobs';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

/** A user's error that knows its HTTP status. */
export class ApiError extends FoveaError {
  readonly status: number;

  constructor(status: number, sentence: string) {
    super(sentence);
    this.status = status;
  }
}

/** Body of every answer that is not 2xx. */
export const errorSchema = z
  .strictObject({ error: z.string().describe('One sentence: what, where, why and the mend.') })
  .meta({ title: 'Error' });

const INTERNAL = 'This request met a fault of the server: its log has the details under the request id.';

export const NO_ANSWER = 'Redis or the store did not answer in time: nothing is lost; try again later.';

/** Sentences for what fastify itself refuses, by its code. */
const REFUSALS: Record<string, string> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'The body is larger than this route takes: a recipe has at most 256 KiB.',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'The body is empty: send a JSON object, or leave the content-type out.',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'The body is not as long as its content-length says: send it whole.',
  FST_ERR_CTP_INVALID_JSON_BODY:
    'The body is not JSON that is accepted here: check its syntax, and its keys for __proto__.',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'The body is of a type that is not taken here: send application/json.',
  FST_ERR_HANDLER_TIMEOUT: NO_ANSWER,
  FST_ERR_BAD_URL: 'The address is not a valid URL: check its percent-encoding.',
  FST_ERR_MAX_PARAM_LENGTH: 'A part of the address is too long: check the id.',
};

/** What a thrown value becomes. */
export function answerTo(error: unknown, method: string): { status: number; error: string } {
  if (error instanceof ApiError) return { status: error.status, error: error.message };
  // What a command refuses is its caller's to mend; a question that fails has found a damaged store.
  if (isUserError(error)) return { status: method === 'GET' || method === 'HEAD' ? 500 : 409, error: error.message };
  const fault = error as Partial<FastifyError> & { errors?: unknown };
  if (fault.validation) return { status: 400, error: misfit(fault as FastifyError) };
  const sentence = REFUSALS[fault.code ?? ''];
  if (sentence) return { status: fault.statusCode ?? 400, error: sentence };
  if (isAbsent(error))
    return {
      status: 503,
      error: 'Redis does not answer the coordinator: the store is safe; try again when it is back.',
    };
  const status = fault.statusCode ?? 500;
  return status >= 400 && status < 500
    ? { status, error: `The request is refused: ${fault.message ?? 'it is not valid'}.` }
    : { status: 500, error: INTERNAL };
}

/** Whether Redis is gone or cannot take more, as ioredis says it. */
function isAbsent(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as NodeJS.ErrnoException;
  return (
    error.name === 'MaxRetriesPerRequestError' ||
    isDiskFullReply(error) ||
    /^(ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|ENOTFOUND)$/.test(code ?? '') ||
    /Connection is closed|Stream isn't writeable|^(LOADING|READONLY) /.test(error.message)
  );
}

function misfit({ validation, validationContext }: FastifyError): string {
  const [issue] = validation!;
  const at = issue.instancePath.split('/').filter(Boolean).join('.');
  const place = `${validationContext ?? 'request'}${at ? ` at "${at}"` : ''}`;
  return `The ${place} is wrong: ${issue.message ?? 'it is not valid'}; mend that value.`;
}

/** fastify's error handler. */
export function onError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const answer = answerTo(error, request.method);
  if (answer.status === 500) request.log.error({ err: error }, 'a request failed');
  return reply.status(answer.status).send({ error: answer.error });
}
