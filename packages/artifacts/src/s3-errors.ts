// How an S3 server, or the way to it, says no, as sentences. What the server wrote is never passed on: its answers can
// hold the access key and the signed request.

import { FoveaError, isUserError, StoreAway } from './errors.ts';

/** Who was asked: all that a sentence may name. */
export interface S3Address {
  bucket: string;
  /** The server's address without credentials, or "Amazon S3". */
  server: string;
}

type Explain = (address: S3Address) => string;

const CREDENTIALS: Explain = ({ server }) =>
  `${server} does not know these credentials; correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`;
const EXPIRED: Explain = () => 'the credentials have expired; get new ones and set AWS_SESSION_TOKEN with them';
const UNREACHABLE: Explain = ({ server }) =>
  `${server} cannot be reached; check FOVEA_S3_ENDPOINT, that the server runs, and the network`;
const REGION: Explain = ({ bucket }) => `the bucket ${bucket} is in another region; set FOVEA_S3_REGION to it`;
const CERTIFICATE: Explain = ({ server }) =>
  `the certificate of ${server} is not trusted; name its authority's file in NODE_EXTRA_CA_CERTS`;
const FULL: Explain = ({ server }) => `${server} has no space left; free some or raise the quota`;

/** By the name that S3 gives an error, or Node's code for it. */
const REASONS: Record<string, Explain> = {
  NoSuchBucket: ({ bucket, server }) => `there is no bucket ${bucket} on ${server}; make it, or correct FOVEA_STORE`,
  InvalidAccessKeyId: CREDENTIALS,
  SignatureDoesNotMatch: CREDENTIALS,
  InvalidToken: CREDENTIALS,
  XAdminUserNotFound: CREDENTIALS,
  AccessDenied: ({ bucket }) =>
    `these credentials may not do that in the bucket ${bucket}; give them the right to list it and to get, put and delete in it`,
  Forbidden: ({ bucket }) =>
    `these credentials may not do that in the bucket ${bucket}; give them the right to list it and to get, put and delete in it`,
  ExpiredToken: EXPIRED,
  TokenRefreshRequired: EXPIRED,
  CredentialsProviderError: () =>
    'no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE',
  RequestTimeTooSkewed: ({ server }) =>
    `the clocks of this machine and of ${server} differ too much; set this one right`,
  PermanentRedirect: REGION,
  AuthorizationHeaderMalformed: REGION,
  IllegalLocationConstraintException: REGION,
  NotImplemented: ({ server }) => `${server} does not implement what that takes; use a newer server`,
  XMinioStorageFull: FULL,
  QuotaExceeded: FULL,
  InsufficientStorage: FULL,
  EntityTooLarge: ({ server }) => `it is larger than ${server} takes; raise the server's limit`,
  BadDigest: () => 'the bytes were changed on their way; try again, and look for a faulty network or proxy',
  XAmzContentSHA256Mismatch: () =>
    'the bytes were changed on their way; try again, and look for a faulty network or proxy',
  ...Object.fromEntries(
    [
      ...['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT'],
      ...['TimeoutError', 'ConnectionError', 'RequestTimeout', 'ERR_STREAM_PREMATURE_CLOSE', 'EPROTO'],
    ].map((name) => [name, UNREACHABLE]),
  ),
  ...Object.fromEntries(
    [
      ...['DEPTH_ZERO_SELF_SIGNED_CERT', 'SELF_SIGNED_CERT_IN_CHAIN', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
      ...['CERT_HAS_EXPIRED', 'ERR_TLS_CERT_ALTNAME_INVALID', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY'],
    ].map((name) => [name, CERTIFICATE]),
  ),
};

interface S3Failure {
  name?: string;
  code?: unknown;
  cause?: unknown;
  errors?: unknown[];
  $metadata?: { httpStatusCode?: number };
}

/** The FoveaError for what a server or the network refused, or the same error if it is none of that. */
export function explainS3(error: unknown, subject: string, address: S3Address): unknown {
  if (isUserError(error) || typeof error !== 'object' || error === null) return error;
  const failure = error as S3Failure;
  const said = [failure.name, failure.code, causeOf(failure)].find(
    (name) => typeof name === 'string' && name in REASONS,
  );
  const reason = said === undefined ? byStatus(failure, address) : REASONS[said as string](address);
  if (reason === null) return error;
  const Kind = isPassing(failure, said) ? StoreAway : FoveaError;
  return new Kind(`${subject}: ${reason}; what was committed before is safe.`);
}

/** HTTP status of the answer; undefined where there was none. */
export function statusOf(error: unknown): number | undefined {
  return (error as S3Failure | null)?.$metadata?.httpStatusCode;
}

/** Whether waiting may mend it: no way to the server, or a server that is not well. */
function isPassing({ $metadata }: S3Failure, said: unknown): boolean {
  if (said !== undefined) return REASONS[said as string] === UNREACHABLE;
  const status = $metadata?.httpStatusCode;
  return status === undefined || status === 429 || status >= 500;
}

function causeOf({ cause, errors }: S3Failure): unknown {
  const below = (cause ?? errors?.[0]) as { code?: unknown } | undefined;
  return below?.code;
}

function byStatus({ name = '', $metadata }: S3Failure, { server }: S3Address): string | null {
  const status = $metadata?.httpStatusCode;
  if ($metadata === undefined) return null;
  if (status === undefined) return `${server} gave no answer; check FOVEA_S3_ENDPOINT and the network`;
  const code = /^[A-Za-z]{1,60}$/.test(name) ? ` (${name})` : '';
  if (status === 429 || status >= 500) return `${server} keeps answering ${status}${code}; try again later`;
  if (status < 400 || name === 'SyntaxError')
    return `${server} does not answer as an S3 server does; check FOVEA_S3_ENDPOINT`;
  return `${server} answered ${status}${code}; check FOVEA_S3_ENDPOINT, FOVEA_S3_REGION and the bucket's settings`;
}
