// The commit of a round: first a compare-and-set of `latest` in Redis that carries the job's fencing token, then the ref
// in the store, which is created and never replaced. A stale worker can do neither, so all it leaves is garbage; and
// committing a round twice gives what the first commit gave.

import { blobsOf, type Checkpoint, writeCheckpoint } from '@fovea/artifacts';
import type { Redis } from 'ioredis';
import { faultPoint } from './fault.ts';
import { type Fleet, keys } from './fleet.ts';
import { readRound, roundRef } from './runs.ts';
import { type RoundRecord, roundRecordSchema } from './schemas.ts';

/**
 * Who may commit: the session of the run, the round, and how often its merge job was started (BullMQ's
 * `attemptsStarted`). Tokens are ordered by the three in that order; a higher one shuts out all lower ones.
 */
export interface FencingToken {
  session: number;
  round: number;
  attempt: number;
}

/** Another worker has a higher token. Nothing was changed; the job is that worker's now. */
export class StaleToken extends Error {
  override readonly name = 'StaleToken';
}

/** Shared by both scripts: 1 if the stored token is higher than the one given. */
const IS_STALE = `
local function stale(key, session, round, attempt)
  local s = redis.call('HMGET', key, 'session', 'round', 'attempt')
  if not s[1] then return false end
  local have = {tonumber(s[1]), tonumber(s[2]), tonumber(s[3])}
  local want = {tonumber(session), tonumber(round), tonumber(attempt)}
  for i = 1, 3 do
    if want[i] ~= have[i] then return want[i] < have[i] end
  end
  return false
end`;

const CLAIM = `${IS_STALE}
if stale(KEYS[1], ARGV[1], ARGV[2], ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], 'session', ARGV[1], 'round', ARGV[2], 'attempt', ARGV[3])
return 1`;

const COMMIT = `${IS_STALE}
if stale(KEYS[1], ARGV[1], ARGV[2], ARGV[3]) then return {'stale'} end
local latest = redis.call('HMGET', KEYS[1], 'latest', 'record')
if latest[1] and tonumber(latest[1]) == tonumber(ARGV[2]) then return {'done', latest[2]} end
redis.call('HSET', KEYS[1], 'session', ARGV[1], 'round', ARGV[2], 'attempt', ARGV[3], 'latest', ARGV[2], 'record', ARGV[4])
return {'done', ARGV[4]}`;

/** Announces that a worker is about to commit, so that every earlier one is shut out. Throws {@link StaleToken}. */
export async function claimRound(
  { redis, prefix }: Fleet,
  runId: string,
  track: string,
  token: FencingToken,
): Promise<void> {
  const key = keys.latest(prefix, runId, track);
  const won = await redis.eval(CLAIM, 1, key, token.session, token.round, token.attempt);
  if (won !== 1) throw new StaleToken(`round ${token.round} of ${track} was claimed by a later worker`);
}

/**
 * Commits a round and returns its record, which is an earlier commit's where there was one. Throws {@link StaleToken}
 * where a later worker has claimed it.
 */
export async function commitRound(
  { redis, store, prefix }: Fleet,
  { runId, track }: { runId: string; track: string },
  token: FencingToken,
  manifest: Checkpoint,
  record: Omit<RoundRecord, 'checkpoint'>,
): Promise<RoundRecord> {
  const committed = await readRound(store, runId, track, token.round);
  if (committed) return committed;
  // A hash in a manifest is a promise: read back what the engine wrote before anything names it.
  for (const { sha256 } of blobsOf(manifest)) await store.get(sha256);
  await faultPoint('commit-checked');
  const checkpoint = await writeCheckpoint(store, manifest);
  await faultPoint('commit-written');
  const wanted = roundRecordSchema.parse({ checkpoint, ...record });
  const winner = await compareAndSet(redis, keys.latest(prefix, runId, track), token, wanted);
  await faultPoint('commit-set');
  if (await store.createRef(roundRef(runId, track, token.round), winner)) return winner;
  return (await readRound(store, runId, track, token.round)) ?? winner;
}

async function compareAndSet(
  redis: Redis,
  key: string,
  token: FencingToken,
  record: RoundRecord,
): Promise<RoundRecord> {
  const { session, round, attempt } = token;
  const reply = (await redis.eval(COMMIT, 1, key, session, round, attempt, JSON.stringify(record))) as [
    string,
    string?,
  ];
  if (reply[0] === 'stale') throw new StaleToken(`round ${round} was claimed by a later worker`);
  return roundRecordSchema.parse(JSON.parse(reply[1]!));
}

/** The round and checkpoint that `latest` of a track points at in Redis; null before the first commit. */
export async function latestOf(
  { redis, prefix }: Fleet,
  runId: string,
  track: string,
): Promise<{ round: number; checkpoint: string } | null> {
  const [round, record] = await redis.hmget(keys.latest(prefix, runId, track), 'latest', 'record');
  if (round === null || record === null) return null;
  return { round: Number(round), checkpoint: roundRecordSchema.parse(JSON.parse(record)).checkpoint };
}
